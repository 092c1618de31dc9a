"""A set of many numbers in little memory. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left

_BUCKETS = 4096
"""So many that one of them stays short, and adding to it quick, with ten million numbers."""


class Fingerprints:
    """A set of whole numbers of 64 bits, of which each takes eight bytes and a little."""

    def __init__(self) -> None:
        self._buckets: list[array[int] | None] = [None] * _BUCKETS

    def add(self, number: int) -> bool:
        """Add a number; ``False``: it was there."""
        bucket = self._buckets[number % _BUCKETS]
        if bucket is None:
            bucket = self._buckets[number % _BUCKETS] = array("Q")
        at = bisect_left(bucket, number)
        if at < len(bucket) and bucket[at] == number:
            return False
        bucket.insert(at, number)
        return True
