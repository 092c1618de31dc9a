"""Reading the parameters of a call: what is missing or wrong is named in the refusal (code 400)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facewarp_async.server.answers import Refusal
from facewarp_async.wire.json import loads

_HD = {1: True, 2: False}
_MAX_TEXT = 1024
_MAX_INTEGER = 2**53


def read_object(body: bytes) -> dict[str, Any]:
    """Read a call's body.

    Raises:
        Refusal: 400, it is no JSON object.
    """
    try:
        document = loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(document, dict):
        raise Refusal(400, "the body is no JSON object")
    return document


def text(body: Mapping[str, Any], name: str, *, path: str = "") -> str:
    """Return a required string.

    Raises:
        Refusal: 400.
    """
    value = body.get(name)
    if value is None or value == "":
        raise Refusal(400, f"the parameter {path}{name} is missing")
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise Refusal(400, f"the parameter {path}{name} must be a string of at most {_MAX_TEXT} characters")
    return value


def integer(body: Mapping[str, Any], name: str) -> int:
    """Return a required integer, which may come as a string.

    Raises:
        Refusal: 400.
    """
    value = body.get(name)
    if value is None or value == "":
        raise Refusal(400, f"the parameter {name} is missing")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_INTEGER)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
        raise Refusal(400, f"the parameter {name} must be an integer")
    return value


def is_hd(body: Mapping[str, Any], *, required: bool) -> bool:
    """Return whether high quality is asked for: 1 for yes, 2 for no.

    Raises:
        Refusal: 400.
    """
    if body.get("is_hd") is None and not required:
        return False
    value = integer(body, "is_hd")
    if value not in _HD:
        raise Refusal(400, "the parameter is_hd must be 1 or 2")
    return _HD[value]


def pairs(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of a multiple swap, ``target_part_key`` first.

    Raises:
        Refusal: 400.
    """
    value = body.get("avatar_key")
    if value is None:
        raise Refusal(400, "the parameter avatar_key is missing")
    if not isinstance(value, list) or not value or not all(isinstance(pair, dict) for pair in value):
        raise Refusal(400, "the parameter avatar_key must be a list of pairs, and not empty")
    return [
        (
            text(pair, "target_part_key", path=f"avatar_key[{index}]."),
            text(pair, "avatar_part_key", path=f"avatar_key[{index}]."),
        )
        for index, pair in enumerate(value)
    ]
