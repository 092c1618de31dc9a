"""Documents are read the same with and without the extra that reads them faster."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewarp_async.wire import json as wire_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _load_without_orjson() -> ModuleType:
    assert wire_json.__file__ is not None
    spec = importlib.util.spec_from_file_location("plain_json", wire_json.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "orjson", None)
        spec.loader.exec_module(module)
    return module


PLAIN = _load_without_orjson()


@pytest.mark.parametrize("module", [wire_json, PLAIN], ids=["installed", "plain"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'"\\ud800"',
        b'["\\udc00\\ud800"]',
        b'"\xed\xa0\x80"',
        b"\xff\xfe[\x00]\x00",
        b"NaN",
        b'{"a": -Infinity}',
        b"",
        b"[1",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_document_is_a_value_error(module: Any, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - both libraries have classes of their own
        module.loads(body)


@pytest.mark.parametrize("module", [wire_json, PLAIN], ids=["installed", "plain"])
def test_a_pair_of_halves_is_a_character(module: Any) -> None:
    assert module.loads(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


@settings(max_examples=50)
@given(values)
def test_a_document_is_written_and_read_back_alike(value: Any) -> None:
    ascii_only = json.dumps(value).encode()
    for module in (wire_json, PLAIN):
        assert module.loads(ascii_only) == value
        assert module.loads(module.dumps(value)) == value
