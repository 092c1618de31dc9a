"""A set of many numbers."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.pipeline.fingerprints import Fingerprints


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20)))
def test_it_holds_what_a_set_holds(numbers: list[int]) -> None:
    found, expected = Fingerprints(), set[int]()
    for number in numbers:
        assert found.add(number) is (number not in expected)
        expected.add(number)
    assert not any(found.add(number) for number in expected)


def test_a_number_takes_little_more_than_its_bytes() -> None:
    numbers = Fingerprints()
    tracemalloc.start()
    for number in range(100_000):
        numbers.add(number * 0x9E3779B97F4A7C15 % 2**64)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100_000 * 16 + 1_000_000
