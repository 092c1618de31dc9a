"""The one cattrs converter of the wire: tolerant of how the service writes values, strict about what is needed.

Numbers may come as strings and the reverse, unknown fields are ignored, ``null`` or nonsense stands for a missing
optional field, and ``[]`` for an empty object (protocol, "Envelope").
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, get_origin

import cattrs
from attrs import has
from cattrs.gen import make_dict_structure_fn

T = TypeVar("T")

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)
"""No longer than what fits 64 bits: Python refuses to read thousands of digits, in words of its own."""


class ShapeError(ValueError):
    """A value does not have the shape that the protocol needs; the message names each JSON path."""


def _to_int(value: Any, _type: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("expected an integer, got a boolean")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise ValueError(f"expected an integer, got {_name(value)}")


def _to_float(value: Any, _type: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {_name(value)}")
    try:
        number = float(value)
    except ValueError:  # its text would repeat the value
        raise ValueError("expected a number, got a string") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _to_str(value: Any, _type: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"expected a string, got {_name(value)}")


def _name(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )


def _to_optional(read: Callable[[Any, Any], Any], value: Any, type_: Any) -> Any:
    """Read what is not needed, ``None`` where it makes no sense: no result is lost over the size of its thumbnail."""
    try:
        return read(value, type_)
    except ValueError:
        return None


def _build() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    hooks: dict[Any, Callable[[Any, Any], Any]] = {int: _to_int, float: _to_float, str: _to_str}
    for kind, read in hooks.items():
        converter.register_structure_hook(kind, read)
        converter.register_structure_hook(kind | None, partial(_to_optional, read))

    def object_hook(cls: type[Any]) -> Any:
        structure = make_dict_structure_fn(cls, converter)

        def from_object(value: Any, type_: Any) -> Any:
            if value == []:
                value = {}
            if not isinstance(value, dict):
                raise ValueError(f"expected an object, got {_name(value)}")
            return structure(value, type_)

        return from_object

    converter.register_structure_hook_factory(has, object_hook)
    return converter


_CONVERTER = _build()


def structure(value: Any, shape: type[T], *, path: str) -> T:
    """Give a decoded JSON value its shape.

    Raises:
        ShapeError: A needed field is missing or has a type that cannot be meant; the message names its JSON path.
    """
    if get_origin(shape) is list and not isinstance(value, list):  # cattrs goes through whatever it is given
        raise ShapeError(f"expected a list, got {_name(value)} @ {path}")
    try:
        return _CONVERTER.structure(value, shape)
    except (cattrs.BaseValidationError, ValueError) as error:
        raise ShapeError("; ".join(_explain(error, path))) from error


def _explain(error: Exception, path: str) -> list[str]:
    return cattrs.transform_error(error, path=path, format_exception=lambda reason, _type: _reason(reason))


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "a required field is missing"
    return str(error)
