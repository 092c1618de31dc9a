"""Looks after fixed delays."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling, Plan, Watch

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def test_fixed_polling_looks_first_after_half_the_typical_time() -> None:
    policy = FixedPolling()
    assert policy.delay_s(IMAGE, 0) == 3
    assert policy.delay_s(TaskKind.FACE_DETECTION, 0) == 3
    assert policy.delay_s(VIDEO, 0) == 45
    assert policy.plan(Watch(None, 10)) == Plan(13, 13, 13)
    assert not policy.plan(Watch(None, 10)).is_bet, "any number of them are made at a time"


def test_fixed_delays_may_be_as_short_as_wanted_but_not_nothing() -> None:
    policy = FixedPolling(image_s=0.01, video_s=0.02, factor=1, longest_s=0.015)
    assert [policy.delay_s(kind, looks) for kind in (IMAGE, VIDEO) for looks in (0, 99)] == [0.005, 0.005, 0.01, 0.01]
    for wrong in ({"image_s": 0}, {"video_s": 0}, {"factor": 0.9}, {"longest_s": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            evolve(policy, **wrong)


@given(st.sampled_from([None, *TaskKind]), st.integers(0, 10**6))
def test_fixed_looks_become_rarer_within_a_bound(kind: TaskKind | None, looks: int) -> None:
    policy = FixedPolling()
    assert 0 < policy.delay_s(kind, looks) <= policy.delay_s(kind, looks + 1) <= policy.longest_s


def test_of_a_task_that_was_not_looked_at_nothing_is_known() -> None:
    assert Watch(IMAGE, 5, looked_at=9).known_s(5) == 0
    assert Watch(IMAGE, 5, looked_at=9, looks=1).known_s(5) == 4
    assert Watch(IMAGE, 5, looked_at=9, looks=1).known_s(12) == 0
