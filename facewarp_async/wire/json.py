"""JSON as bytes, by orjson where the extra ``speed`` is installed."""

from __future__ import annotations

import json
import re
from typing import Any

try:
    import orjson
except ImportError:  # the extra is optional by design

    def _refuse_constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    _ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    _DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
    _SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

    def dumps(value: Any) -> bytes:
        """Return compact UTF-8 JSON."""
        return _ENCODER.encode(value).encode()

    def loads(body: bytes) -> Any:
        """Read a JSON document.

        Raises:
            ValueError: It is none.
        """
        try:
            document = _DECODER.decode(body.decode("utf-8"))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if _SURROGATE.search(body) is not None:
            dumps(document)  # raises where half a character stands alone, which could never be sent back
        return document

else:

    def dumps(value: Any) -> bytes:
        """Return compact UTF-8 JSON."""
        return orjson.dumps(value)

    def loads(body: bytes) -> Any:
        """Read a JSON document.

        Raises:
            ValueError: It is none.
        """
        return orjson.loads(body)
