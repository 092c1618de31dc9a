"""When tasks are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.config import VIDNOZ
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import PollPolicy


def test_the_first_look_comes_after_half_the_typical_time() -> None:
    policy = PollPolicy.for_provider(VIDNOZ)
    assert policy.delay_s(TaskKind.IMAGE_SWAP, 0) == 3
    assert policy.delay_s(TaskKind.FACE_DETECTION, 0) == 3
    assert policy.delay_s(TaskKind.VIDEO_SWAP, 0) == 45
    assert policy.delay_s(None, 0) == 3


@given(st.sampled_from([None, *TaskKind]), st.integers(0, 10**6))
def test_looks_become_rarer_within_a_bound(kind: TaskKind | None, looks: int) -> None:
    policy = PollPolicy()
    assert 0 < policy.delay_s(kind, looks) <= policy.delay_s(kind, looks + 1) <= policy.longest_s
