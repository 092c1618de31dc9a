"""When a task is looked at, and what is learnt from that."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.config import VIDNOZ
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import Delays, FixedPolling, LearntPolling, Watch

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def test_fixed_polling_looks_first_after_half_the_typical_time() -> None:
    policy = FixedPolling()
    assert policy.delay_s(IMAGE, 0) == 3
    assert policy.delay_s(TaskKind.FACE_DETECTION, 0) == 3
    assert policy.delay_s(VIDEO, 0) == 45
    assert policy.plan(Watch(None, 10, 10)) == (13, 13)


@given(st.sampled_from([None, *TaskKind]), st.integers(0, 10**6))
def test_fixed_looks_become_rarer_within_a_bound(kind: TaskKind | None, looks: int) -> None:
    policy = FixedPolling()
    assert 0 < policy.delay_s(kind, looks) <= policy.delay_s(kind, looks + 1) <= policy.longest_s


def test_learnt_polling_starts_from_the_providers_typical_times() -> None:
    policy = LearntPolling.for_provider(VIDNOZ)
    assert policy.plan(Watch(IMAGE, 100, 100)) == pytest.approx((106, 115))
    assert policy.plan(Watch(VIDEO, 100, 100)) == pytest.approx((190, 325))
    assert policy.plan(Watch(IMAGE, 100, 107, looks=1)) == pytest.approx((109.4, 114.2))


def test_a_task_that_is_believed_to_queue_is_not_due() -> None:
    assert LearntPolling.for_provider(VIDNOZ).plan(Watch(IMAGE, None, 100)) == (math.inf, math.inf)


def test_a_task_of_an_earlier_run_is_due_at_once_and_teaches_nothing() -> None:
    policy = LearntPolling.for_provider(VIDNOZ)
    watch = Watch(IMAGE, 100, 100, is_fresh=False)
    assert policy.plan(watch) == (100, 100)
    policy.learn(watch, 100, False)
    assert policy.samples == 0


@pytest.mark.parametrize("true_s", [0.5, 6, 40])
def test_learning_ends_where_seven_looks_in_ten_succeed(true_s: float) -> None:
    policy, draw, hits, looks = LearntPolling({kind: Delays(6, 2.4) for kind in TaskKind}), random.Random(1), 0, 0
    for number in range(3000):
        watch, ends_at = Watch(IMAGE, 0, 0), true_s * draw.lognormvariate(0, 0.6)
        while True:
            asked_at, _ = policy.plan(watch)
            done = ends_at <= asked_at
            policy.learn(watch, asked_at, done)
            watch.looks, watch.looked_at = watch.looks + 1, asked_at
            looks, hits = looks + (number >= 1000), hits + (done and number >= 1000)
            if done:
                break
    assert 0.65 < hits / looks < 0.77


def test_a_success_that_came_late_teaches_nothing() -> None:
    policy = LearntPolling({kind: Delays(6, 2.4) for kind in TaskKind})
    policy.learn(Watch(IMAGE, 0, 0), 20, True)
    policy.learn(Watch(IMAGE, 0, 7, looks=1), 20, True)
    assert policy.delays(IMAGE) == Delays(6, 2.4)


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.booleans(), st.integers(0, 50)), max_size=200),
    st.floats(0.02, 1e4),
)
def test_whatever_is_learnt_the_delays_stay_sensible(outcomes: list[tuple[float, bool, int]], start_s: float) -> None:
    policy = LearntPolling({kind: Delays(start_s, start_s) for kind in TaskKind})
    for waited_s, done, looks in outcomes:
        policy.learn(Watch(IMAGE, 0, 0, looks=looks), waited_s, done)
        delays = policy.delays(IMAGE)
        assert 0.02 <= delays.again_s <= delays.first_s <= 6 * 3600
        early, late = policy.plan(Watch(IMAGE, 0, 0, looks=looks))
        assert 0 < early <= late < math.inf
