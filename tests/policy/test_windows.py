"""Beliefs about how many tasks the service works on at once."""

from __future__ import annotations

import math

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.polling import Watch
from facewarp_async.policy.windows import SIZES, Window

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def window_of(size: int) -> Window:
    return Window(0, size, {kind: Durations(6, 0.3) for kind in TaskKind})


def added(window: Window, at: float, kind: TaskKind = IMAGE) -> Watch:
    watch = Watch(kind, at, begins=[math.inf])
    window.add(watch)
    return watch


def test_the_oldest_are_worked_on_of_whatever_kind_and_the_others_queue() -> None:
    window = window_of(2)
    watches = [added(window, 0), added(window, 1, VIDEO), added(window, 2)]
    assert [watch.begins[0] for watch in watches] == [0, 1, math.inf]
    assert list(window.begun) == watches[:2]


def test_a_task_that_was_found_done_made_room_when_it_probably_ended() -> None:
    window = window_of(1)
    older, younger = added(window, 0), added(window, 0)
    assert list(window.finish(older, 30)) == [younger]
    assert 4 < younger.begins[0] < 8, "long before the look, as tasks of six seconds do"


def test_no_task_begins_before_it_was_created() -> None:
    window = window_of(1)
    older, younger = added(window, 0), added(window, 29)
    assert list(window.finish(older, 30)) == [younger]
    assert younger.begins[0] == 29


def test_a_task_that_was_taken_out_of_the_queue_never_begins() -> None:
    window = window_of(1)
    first, second, third = (added(window, 0) for _ in range(3))
    assert list(window.leave(second, 1)) == []
    second.begins = []
    assert list(window.leave(first, 2)) == [third]


def test_what_was_likely_speaks_for_a_window_and_what_was_not_against_it() -> None:
    small, large = window_of(1), window_of(8)
    for window in (small, large):
        added(window, 0)
    watch = Watch(IMAGE, 0, begins=[math.inf])
    small.add(watch)
    queueing = watch.begins[0]
    small.weigh(watch, 9, True)
    watch.begins = [math.inf]
    large.add(watch)
    large.weigh(watch, 9, True)
    assert (queueing, watch.begins[0]) == (math.inf, 0)
    assert large.evidence > small.evidence + 3


def test_old_looks_fade() -> None:
    window = window_of(1)
    first, second = added(window, 0), added(window, 0)
    window.weigh(second, 1, True)
    before = window.evidence
    for _ in range(500):
        window.weigh(first, 6, True)  # as probable as not
    assert before < -3
    assert window.evidence == pytest.approx(math.log(0.5) / (1 - 0.995), rel=0.1), "as if the surprise had never been"


def test_no_single_look_decides() -> None:
    window = window_of(8)
    window.weigh(added(window, 0), 0.001, True)
    assert window.evidence == pytest.approx(math.log(0.03))
    window.weigh(added(window, 0), 10**6, False)
    assert window.evidence == pytest.approx(math.log(0.03), rel=1.1)
    assert window.evidence > 3 * math.log(0.03)


def test_what_is_believed_to_queue_teaches_nothing_of_durations_when_it_is_found_done() -> None:
    window = window_of(1)
    worked_on, queueing = added(window, 0), added(window, 0)
    assert list(window.finish(queueing, 9)) == [], "nobody took its place"
    assert window.durations[IMAGE].seen == 0
    list(window.finish(worked_on, 9))
    assert window.durations[IMAGE].seen == 1


def test_however_many_tasks_the_service_works_on_a_belief_holds_more_than_half_of_them_and_no_more() -> None:
    for number in range(1, 2 * max(size for size in SIZES if size < 10_000)):
        assert number / 2 < max(size for size in SIZES if size <= number)
    assert max(SIZES) >= 10**6, "more than anybody has waiting"
