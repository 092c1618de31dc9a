"""JSON as bytes, by orjson where the extra ``speed`` is installed."""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:  # the extra is optional by design

    def dumps(value: Any) -> bytes:
        """Return compact UTF-8 JSON."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    def loads(body: bytes) -> Any:
        """Read a JSON document.

        Raises:
            ValueError: It is none.
        """
        return json.loads(body)

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
