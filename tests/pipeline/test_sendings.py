"""How often a pipeline tells of the bytes that have left."""

from __future__ import annotations

from pathlib import Path

from facewarp_async.models import ImageSwap
from facewarp_async.pipeline.events import BytesSent, Event, Sendings

MB = 1024 * 1024
JOB = ImageSwap("a.png", "me.png")


def told(*sent: tuple[str, int, int]) -> list[tuple[str, int]]:
    """Return what is told of, when so many bytes of files have left one after the other."""
    events: list[Event] = []
    sendings = Sendings(3, JOB, events.append)
    for name, number, size in sent:
        sendings(Path(name), number, size)
    for event in events:
        assert isinstance(event, BytesSent)
        assert (event.index, event.job) == (3, JOB)
    return [(str(event.file), event.sent) for event in events if isinstance(event, BytesSent)]


def test_each_megabyte_is_told_of_and_what_lies_between_is_not() -> None:
    steps = [("a", MB - 1, 9 * MB), ("a", MB, 9 * MB), ("a", MB + 1, 9 * MB), ("a", 2 * MB, 9 * MB)]
    assert told(*steps) == [("a", MB), ("a", 2 * MB)]


def test_a_files_end_is_told_of_however_small_it_is() -> None:
    assert told(("a", 1, 10), ("a", 10, 10), ("b", 3, 10), ("b", 10, 10)) == [("a", 10), ("b", 3), ("b", 10)]


def test_a_file_that_is_sent_anew_begins_anew() -> None:
    steps = [("a", 3 * MB, 9 * MB), ("a", 0, 9 * MB), ("a", MB - 1, 9 * MB), ("a", MB, 9 * MB)]
    assert told(*steps) == [("a", 3 * MB), ("a", 0), ("a", MB)]


def test_nothing_is_told_before_anything_has_left() -> None:
    assert told(("a", 0, 10)) == []
