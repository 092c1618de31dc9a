"""The one cattrs converter of the wire: tolerant of how the service writes values, strict about what is needed.

Numbers may come as strings and the reverse, unknown fields are ignored, ``null`` stands for a missing optional field,
and ``[]`` for an empty object (protocol, "Envelope").
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import cattrs
from attrs import has
from cattrs.gen import make_dict_structure_fn

T = TypeVar("T")


class ShapeError(ValueError):
    """A value does not have the shape that the protocol needs; the message names each JSON path."""


def _to_int(value: Any, _type: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("expected an integer, got a boolean")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value)
    raise ValueError(f"expected an integer, got {_name(value)}")


def _to_float(value: Any, _type: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {_name(value)}")
    number = float(value)
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


def _to_optional_number(kind: type, value: Any) -> Any:
    if value is None or value == "":
        return None
    return _to_int(value, int) if kind is int else _to_float(value, float)


def _build() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(int, _to_int)
    converter.register_structure_hook(float, _to_float)
    converter.register_structure_hook(str, _to_str)
    for kind in (int, float):
        converter.register_structure_hook(kind | None, lambda value, _type, kind=kind: _to_optional_number(kind, value))

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
    try:
        return _CONVERTER.structure(value, shape)
    except (cattrs.BaseValidationError, ValueError) as error:
        raise ShapeError("; ".join(_explain(error, path))) from error


def _explain(error: Exception, path: str) -> list[str]:
    return cattrs.transform_error(error, path=path, format_exception=lambda reason, _type: _reason(reason))


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "a required field is missing"
    return str(error) or type(error).__name__
