"""For how long the service will still work."""

from __future__ import annotations

import math

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.outlook import work_left_s
from facewarp_async.policy.polling import Watch
from facewarp_async.policy.windows import Window

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def window_of(size: int, tasks: int, spread: float = 0.15) -> Window:
    typical_s = {kind: 60.0 if kind.is_video else 6.0 for kind in TaskKind}
    window = Window(0, size, {kind: Durations(seconds, spread) for kind, seconds in typical_s.items()})
    for _ in range(tasks):
        window.add(Watch(IMAGE, 0, begins=[math.inf]))
    return window


def test_nothing_to_do_takes_no_time() -> None:
    assert work_left_s(window_of(4, 0), 0, upcoming={}, over_s=0) == 0


@pytest.mark.parametrize(
    ("size", "tasks", "expected_s"), [(1, 1, 5.4), (8, 8, 7), (4, 40, 61), (1, 400, 2427), (8, 800, 607)]
)
def test_workers_take_the_tasks_in_turn(size: int, tasks: int, expected_s: float) -> None:
    assert work_left_s(window_of(size, tasks), 0, upcoming={}, over_s=0) == pytest.approx(expected_s, rel=0.1)


def test_time_that_has_passed_is_over() -> None:
    assert work_left_s(window_of(1, 1), 4, upcoming={}, over_s=0) == pytest.approx(2, abs=1)
    assert work_left_s(window_of(1, 1), 60, upcoming={}, over_s=0) == 0


def test_the_last_task_takes_its_time_after_it_was_created() -> None:
    left_s = work_left_s(window_of(64, 0), 0, upcoming={IMAGE: 20}, over_s=100)
    assert left_s == pytest.approx(106, rel=0.05)


def test_a_few_long_tasks_make_the_end() -> None:
    assert work_left_s(window_of(64, 0), 0, upcoming={IMAGE: 60, VIDEO: 1}, over_s=0) == pytest.approx(60, rel=0.15)


def test_tasks_that_left_the_queue_are_no_work() -> None:
    window = window_of(1, 40)
    for watch in list(window.queue)[:38]:
        watch.begins = []
    assert work_left_s(window, 0, upcoming={}, over_s=0) == pytest.approx(12, rel=0.2)


def test_the_same_question_has_the_same_answer() -> None:
    window = window_of(4, 30)
    answers = {work_left_s(window, 3, upcoming={VIDEO: 9, IMAGE: 9}, over_s=5) for _ in range(3)}
    assert len(answers) == 1


def test_the_next_task_goes_to_the_worker_that_is_free_first() -> None:
    window = window_of(2, 0)
    window.add(Watch(VIDEO, 0, begins=[math.inf]))
    window.add(Watch(IMAGE, 0, begins=[math.inf]))
    both_s = work_left_s(window, 0, upcoming={}, over_s=0)
    for _ in range(3):
        window.add(Watch(IMAGE, 0, begins=[math.inf]))
    assert work_left_s(window, 0, upcoming={}, over_s=0) == both_s, "before the video is done"


@pytest.mark.parametrize("kinds", [(IMAGE, VIDEO), (VIDEO, IMAGE)])
def test_the_kinds_of_tasks_that_are_to_come_are_taken_to_be_mixed(kinds: tuple[TaskKind, TaskKind]) -> None:
    left_s = work_left_s(window_of(64, 0), 0, upcoming=dict.fromkeys(kinds, 20), over_s=600)
    assert 620 < left_s < 670, "among the last are videos, whichever kind is named first"


def test_of_much_work_each_task_takes_the_mean_which_is_more_than_the_typical_time() -> None:
    mean_s = 6 * math.exp(1.2**2 / 2)
    assert work_left_s(window_of(1, 4000, 1.2), 0, upcoming={}, over_s=0) == pytest.approx(4000 * mean_s, rel=0.02)


def test_a_task_that_queues_may_begin_as_soon_as_one_that_is_created_now() -> None:
    queued_s = work_left_s(window_of(1, 2), 60, upcoming={}, over_s=0)
    assert queued_s == work_left_s(window_of(1, 1), 60, upcoming={IMAGE: 1}, over_s=0)
