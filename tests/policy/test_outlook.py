"""For how long the service will still work."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Mapping

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.outlook import work_left
from facewarp_async.policy.polling import TimeLeft, Watch
from facewarp_async.policy.windows import Window

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def window_of(size: int, tasks: int, spread: float = 0.15) -> Window:
    typical_s = {kind: 60.0 if kind.is_video else 6.0 for kind in TaskKind}
    window = Window(0, size, {kind: Durations(seconds, spread) for kind, seconds in typical_s.items()})
    for _ in range(tasks):
        window.add(Watch(IMAGE, 0, begins=[math.inf]))
    return window


def middle_s(window: Window, now: float, *, upcoming: Mapping[TaskKind, int], over_s: float) -> float:
    return sum(work_left(window, now, upcoming=upcoming, over_s=over_s)) / 2


def test_nothing_to_do_takes_no_time() -> None:
    assert work_left(window_of(4, 0), 0, upcoming={}, over_s=0) == TimeLeft(0, 0)


def test_the_more_tasks_differ_the_less_is_known_of_the_end() -> None:
    widths = []
    for spread in (0.15, 0.5, 1.0):
        least_s, most_s = work_left(window_of(8, 8, spread), 0, upcoming={}, over_s=0)
        widths.append(most_s / least_s)
    assert widths[0] < 1.5 < 2 < widths[1] < 3 < widths[2]


def test_of_a_task_that_may_be_done_at_once_or_in_a_while_both_are_told() -> None:
    window = window_of(1, 1, 1.0)
    (watch,) = window.begun
    watch.looks, watch.looked_at = 1, 10
    least_s, most_s = work_left(window, 10, upcoming={}, over_s=0)
    assert least_s < 2
    assert most_s > 10


@pytest.mark.parametrize(
    ("begun", "queued", "to_come", "times"),
    [
        (20_000, 0, 0, 20_000),
        (8, 20_000, 0, 12 * 108),
        (8, 60, 30, 12 * 108),
        (8, 0, 10**9, 12 * 108),
        (10**4, 10**4, 10**4, 10**4 + 100),
    ],
)
def test_however_many_tasks_there_are_some_thousand_get_a_time_of_their_own(
    begun: int, queued: int, to_come: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, drawn = window_of(begun, begun + queued), [0]
    when_done = Durations.when_done

    def count(durations: Durations, probability: float, *, not_by_s: float = 0.0) -> float:
        drawn[0] += 1
        return when_done(durations, probability, not_by_s=not_by_s)

    monkeypatch.setattr(Durations, "when_done", count)
    left = work_left(window, 0, upcoming={IMAGE: to_come, VIDEO: to_come}, over_s=9)
    assert drawn == [times]
    mean_s = 6 * math.exp(0.15**2 / 2)
    work_s = queued * mean_s + to_come * 11 * mean_s
    assert sum(left) / 2 == pytest.approx(work_s / begun, rel=0.05, abs=120)


@pytest.mark.parametrize(
    ("size", "tasks", "expected_s"), [(1, 1, 6), (8, 8, 7), (4, 40, 61), (1, 400, 2427), (8, 800, 607)]
)
def test_workers_take_the_tasks_in_turn(size: int, tasks: int, expected_s: float) -> None:
    assert middle_s(window_of(size, tasks), 0, upcoming={}, over_s=0) == pytest.approx(expected_s, rel=0.1)


def test_time_that_has_passed_is_over() -> None:
    assert middle_s(window_of(1, 1), 4, upcoming={}, over_s=0) == pytest.approx(2, abs=1)
    assert work_left(window_of(1, 1), 60, upcoming={}, over_s=0) == TimeLeft(0, 0)


def test_the_last_task_takes_its_time_after_it_was_created() -> None:
    left_s = middle_s(window_of(64, 0), 0, upcoming={IMAGE: 20}, over_s=100)
    assert left_s == pytest.approx(106, rel=0.05)


def test_a_few_long_tasks_make_the_end() -> None:
    assert middle_s(window_of(64, 0), 0, upcoming={IMAGE: 60, VIDEO: 1}, over_s=0) == pytest.approx(60, rel=0.15)


def test_tasks_that_left_the_queue_are_no_work() -> None:
    window = window_of(1, 40)
    for watch in list(window.queue)[:38]:
        watch.begins = []
    assert middle_s(window, 0, upcoming={}, over_s=0) == pytest.approx(12, rel=0.2)


def test_the_same_question_has_the_same_answer() -> None:
    window = window_of(4, 30)
    answers = {work_left(window, 3, upcoming={VIDEO: 9, IMAGE: 9}, over_s=5) for _ in range(3)}
    assert len(answers) == 1


def test_the_next_task_goes_to_the_worker_that_is_free_first() -> None:
    window = window_of(2, 0)
    window.add(Watch(VIDEO, 0, begins=[math.inf]))
    window.add(Watch(IMAGE, 0, begins=[math.inf]))
    both = work_left(window, 0, upcoming={}, over_s=0)
    for _ in range(3):
        window.add(Watch(IMAGE, 0, begins=[math.inf]))
    assert work_left(window, 0, upcoming={}, over_s=0) == both, "before the video is done"


def test_of_workers_without_number_only_those_with_a_task_are_thought_of() -> None:
    window = window_of(10**6, 8)
    tracemalloc.start()
    try:
        work_left(window, 0, upcoming={IMAGE: 10**6}, over_s=60)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10**6, "a list of the workers would take eight times as much"


def test_tasks_that_are_not_told_of_singly_are_for_all_workers() -> None:
    assert middle_s(window_of(500, 0), 0, upcoming={IMAGE: 5000}, over_s=0) == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize("kinds", [(IMAGE, VIDEO), (VIDEO, IMAGE)])
def test_the_kinds_of_tasks_that_are_to_come_are_taken_to_be_mixed(kinds: tuple[TaskKind, TaskKind]) -> None:
    left_s = middle_s(window_of(64, 0), 0, upcoming=dict.fromkeys(kinds, 20), over_s=600)
    assert 620 < left_s < 670, "among the last are videos, whichever kind is named first"


def test_of_much_work_each_task_takes_the_mean_which_is_more_than_the_typical_time() -> None:
    mean_s = 6 * math.exp(1.2**2 / 2)
    assert middle_s(window_of(1, 4000, 1.2), 0, upcoming={}, over_s=0) == pytest.approx(4000 * mean_s, rel=0.02)


def test_a_task_that_queues_may_begin_as_soon_as_one_that_is_created_now() -> None:
    queued_s = middle_s(window_of(1, 2), 60, upcoming={}, over_s=0)
    assert queued_s == pytest.approx(middle_s(window_of(1, 1), 60, upcoming={IMAGE: 1}, over_s=0), rel=0.2)
