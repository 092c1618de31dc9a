"""How long a batch will still take."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import TaskKind
from facewarp_async.policy.remaining import Remaining

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def test_nothing_is_told_before_it_can_be() -> None:
    assert Remaining(None, rate=1).remaining_s(0) is None
    assert Remaining(10).remaining_s(0) is None
    begun = Remaining(10)
    begun.begun(5)
    assert begun.remaining_s(6) is None


def test_where_calls_are_limited_all_that_are_left_have_to_be_made() -> None:
    remaining = Remaining(100, rate=2, calls_per_job=3)
    remaining.begun(0)
    assert remaining.remaining_s(0) == 150
    remaining.uploaded(1)
    remaining.created(0, 2)
    remaining.ended(0, 3)
    assert remaining.remaining_s(3) == 148.5


def test_the_total_may_become_known_later() -> None:
    remaining = Remaining(rate=1, calls_per_job=3)
    remaining.begun(0)
    assert remaining.remaining_s(1) is None
    remaining.total = 10
    assert remaining.remaining_s(1) == 30


def test_when_all_have_ended_nothing_remains() -> None:
    remaining = Remaining(1, rate=1)
    remaining.created(0, 1)
    remaining.ended(0, 2)
    assert remaining.remaining_s(9) == 0


def test_jobs_that_took_no_time_do_not_count() -> None:
    """Done in an earlier run: they would make the batch look fast."""
    remaining = Remaining(1000, rate=1, calls_per_job=3)
    for job in range(990):
        remaining.ended(job, 0.001 * job)
    assert remaining.remaining_s(1) == 30


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("rate", [1.0, 20.0, None])
@pytest.mark.parametrize("in_flight", [32, 128])
def test_from_a_third_on_the_end_is_foreseen_to_a_quarter(workers: int, rate: float | None, in_flight: int) -> None:
    """Jobs of five seconds, created as room and rate allow, noticed at once."""
    jobs, remaining, steps = 600, Remaining(600, rate=rate, calls_per_job=3), list[tuple[float, str, int]]()
    free_at, ends, clock = [0.0] * workers, list[float](), 0.0
    for job in range(jobs):
        clock += 0.0 if rate is None else (3 if job >= in_flight else 2) / rate
        clock = max(clock, ends[job - in_flight] if job >= in_flight else 0.0)
        ends.append(max(clock, free_at[0]) + 5)
        heapq.heapreplace(free_at, ends[-1])
        steps += [(clock, "created", job), (ends[-1], "ended", job)]
    told, count = list[tuple[float, float]](), 0
    for at, step, job in sorted(steps):
        if step == "created":
            remaining.uploaded(at)
            remaining.created(job, at)
        else:
            remaining.ended(job, at)
            count += 1
            if jobs / 3 <= count <= 0.9 * jobs:
                told.append((at, remaining.remaining_s(at) or math.inf))
    errors = [abs(foreseen - (max(ends) - at)) / (max(ends) - at) for at, foreseen in told]
    assert max(errors) <= 0.25


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2), st.integers(0, 30)), max_size=120),
    st.one_of(st.none(), st.integers(0, 40)),
    st.one_of(st.none(), st.floats(0.01, 1000)),
)
def test_whatever_is_told_the_answer_is_none_or_a_time(
    steps: list[tuple[float, int, int]], total: int | None, rate: float | None
) -> None:
    remaining, now = Remaining(total, rate=rate), 0.0
    for now, step, job in sorted(steps):
        if step == 0:
            remaining.uploaded(now)
        elif step == 1:
            remaining.created(job, now)
        else:
            remaining.ended(job, now)
        answer = remaining.remaining_s(now)
        assert answer is None or 0 <= answer < math.inf


def test_when_all_tasks_are_created_what_is_known_of_the_service_tells_the_end() -> None:
    remaining = Remaining(3, foresee=lambda _upcoming, _over_s: 40.0)
    for job in range(3):
        remaining.created(job, 0)
    remaining.look_ahead(5)
    assert remaining.remaining_s(5) is None, "nothing was found done: it is not known yet"
    remaining.ended(0, 10)
    remaining.look_ahead(10)
    assert remaining.remaining_s(10) == 40
    assert remaining.remaining_s(30) == 20
    assert remaining.remaining_s(99) == 0


def test_while_tasks_are_to_be_created_speed_counts_as_much() -> None:
    remaining = Remaining(20, foresee=lambda _upcoming, _over_s: 10.0)
    remaining.begun(0)
    for job in range(10):
        remaining.created(job, job)
        remaining.ended(job, job + 1)
    by_speed = remaining.remaining_s(10)
    remaining.look_ahead(10)
    assert by_speed is not None
    assert remaining.remaining_s(10) == pytest.approx(math.sqrt(10 * by_speed))


def test_jobs_that_were_not_begun_are_taken_for_the_mix_of_the_others() -> None:
    asked = list[tuple[dict[TaskKind, int], float]]()

    def foresee(upcoming: Mapping[TaskKind, int], over_s: float) -> float:
        asked.append((dict(upcoming), over_s))
        return 1.0

    remaining = Remaining(100, rate=2, foresee=foresee)
    for job in range(10):
        remaining.expected(job, VIDEO if job < 2 else IMAGE)
    for job in range(5):
        remaining.uploaded(1)
        remaining.created(job, 1)
    remaining.ended(0, 2)
    remaining.look_ahead(2)
    assert asked == [({IMAGE: 77, VIDEO: 18}, (95 + 2 * 95) / 2)]
