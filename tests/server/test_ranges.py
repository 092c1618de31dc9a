"""Reading the Range header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.server.ranges import Span, UnsatisfiableRangeError, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-9", Span(0, 10)),
        ("bytes=90-", Span(90, 10)),
        ("bytes=90-1000", Span(90, 10)),
        ("bytes=-10", Span(90, 10)),
        ("bytes=-1000", Span(0, 100)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=9-1", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_reads_ranges_of_a_hundred_bytes(header: str | None, span: Span | None) -> None:
    """One range is understood; anything else means the whole body, as with S3."""
    assert parse_range(header, size=100) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_refuses_ranges_behind_the_end(header: str, size: int) -> None:
    """A range without a byte in it cannot be satisfied."""
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, size=size)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_agrees_with_slices(first: int, last: int, size: int) -> None:
    """The part is what a slice of the body would be."""
    body = bytes(index % 251 for index in range(size))
    if first <= last and first < size:
        span = parse_range(f"bytes={first}-{last}", size=size)
        assert span is not None
        assert body[span.start : span.start + span.length] == body[first : last + 1]
