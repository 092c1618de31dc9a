"""The part of a body that a ``Range`` header asks for."""

from __future__ import annotations

import re

from attrs import frozen

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@frozen
class Span:
    """So many bytes from a place on."""

    start: int
    length: int


class UnsatisfiableRangeError(ValueError):
    """The range lies behind the end."""


def parse_range(header: str | None, *, size: int) -> Span | None:
    """Return which part of `size` bytes is meant; ``None`` for all of them.

    As with S3, a header that is malformed or names several ranges is as good as none.

    Raises:
        UnsatisfiableRangeError: None of the bytes asked for exists.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        if not length:
            raise UnsatisfiableRangeError
        return Span(size - length, length)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRangeError
    return Span(start, end - start + 1)
