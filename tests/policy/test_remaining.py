"""How long a batch will still take."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import TimeLeft
from facewarp_async.policy.remaining import Remaining

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def told_s(remaining: Remaining, now: float) -> float | None:
    """Return the one time that is told."""
    left = remaining.left(now)
    assert left is None or left.least_s == left.most_s
    return None if left is None else left.most_s


def test_nothing_is_told_before_it_can_be() -> None:
    assert told_s(Remaining(None, rate=1), 0) is None
    assert told_s(Remaining(10), 0) is None
    begun = Remaining(10)
    begun.begun(5)
    assert told_s(begun, 6) is None


def test_where_calls_are_limited_all_that_are_left_have_to_be_made() -> None:
    remaining = Remaining(100, rate=2)
    remaining.begun(0)
    assert told_s(remaining, 0) == pytest.approx(152.5), "one look in twenty is in vain"
    remaining.uploaded(1)
    remaining.created(0, 2)
    remaining.ended(0, 3)
    assert told_s(remaining, 3) == pytest.approx(150.975)


def test_the_total_may_become_known_later() -> None:
    remaining = Remaining(rate=1)
    remaining.begun(0)
    assert told_s(remaining, 1) is None
    remaining.total = 10
    assert told_s(remaining, 1) == pytest.approx(30.5)


def test_when_all_have_ended_nothing_remains() -> None:
    remaining = Remaining(1, rate=1)
    remaining.created(0, 1)
    remaining.ended(0, 2)
    assert told_s(remaining, 9) == 0


def test_jobs_that_took_no_time_do_not_count() -> None:
    """Done in an earlier run: they would make the batch look fast."""
    remaining = Remaining(1000, rate=1)
    for job in range(990):
        remaining.ended(job, 0.001 * job)
    assert told_s(remaining, 1) == pytest.approx(30.5)


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("rate", [1.0, 20.0, None])
@pytest.mark.parametrize("in_flight", [32, 128])
def test_from_a_third_on_the_end_is_foreseen_to_a_quarter(workers: int, rate: float | None, in_flight: int) -> None:
    """Jobs of five seconds, created as room and rate allow, noticed at once."""
    jobs, remaining, steps = 600, Remaining(600, rate=rate), list[tuple[float, str, int]]()
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
                told.append((at, told_s(remaining, at) or math.inf))
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
        left = remaining.left(now)
        assert left is None or 0 <= left.least_s <= left.most_s < math.inf


def test_when_all_tasks_are_created_what_is_known_of_the_service_tells_the_end() -> None:
    remaining = Remaining(3, foresee=lambda _upcoming, _over_s: TimeLeft(40, 40))
    for job in range(3):
        remaining.created(job, 0)
    assert told_s(remaining, 5) is None, "nothing was found done: it is not known yet"
    remaining.ended(0, 10)
    assert told_s(remaining, 10) == 40


def test_while_tasks_are_to_be_created_speed_counts_as_much() -> None:
    by_speed, remaining = Remaining(20), Remaining(20, foresee=lambda _upcoming, _over_s: TimeLeft(10, 10))
    for each in (by_speed, remaining):
        for job in range(10):
            each.created(job, job)
            each.ended(job, job + 1)
    by_speed_s = told_s(by_speed, 10)
    assert by_speed_s is not None
    assert told_s(remaining, 10) == pytest.approx(math.sqrt(10 * by_speed_s))


@pytest.mark.parametrize("created", [10, 20])
def test_where_the_end_cannot_be_told_well_the_least_and_the_most_are(created: int) -> None:
    by_speed, remaining = Remaining(20), Remaining(20, foresee=lambda _upcoming, _over_s: TimeLeft(10, 40))
    for each in (by_speed, remaining):
        for job in range(created):
            each.created(job, job)
        for job in range(10):
            each.ended(job, job + 1)
    by_speed_s = told_s(by_speed, 20)
    assert by_speed_s is not None
    by_tasks = [10, 40] if created == 20 else [math.sqrt(seconds * by_speed_s) for seconds in (10, 40)]
    assert remaining.left(20) == pytest.approx(by_tasks)


@pytest.mark.parametrize(("left", "told"), [((16, 25), (20, 20)), ((15.9, 25), (15.9, 25)), ((0, 10), (6.3, 10))])
def test_what_differs_little_is_told_as_one_time_and_none_before_the_last_call(
    left: tuple[float, float], told: tuple[float, float]
) -> None:
    remaining = Remaining(4, rate=0.5, foresee=lambda _upcoming, _over_s: TimeLeft(*left))
    for job in range(4):
        remaining.uploaded(0)
        remaining.created(job, 0)
    remaining.ended(0, 1)
    assert remaining.left(1) == pytest.approx(told)


def test_jobs_that_were_not_begun_are_taken_for_the_mix_of_the_others() -> None:
    asked = list[tuple[dict[TaskKind, int], float]]()

    def foresee(upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        asked.append((dict(upcoming), over_s))
        return TimeLeft(1, 1)

    remaining = Remaining(100, rate=2, foresee=foresee)
    for job in range(10):
        remaining.expected(job, VIDEO if job < 2 else IMAGE)
    for job in range(5):
        remaining.uploaded(1)
        remaining.created(job, 1)
    remaining.ended(0, 2)
    remaining.left(2)
    assert asked == [({IMAGE: 77, VIDEO: 18}, (95 + 2 * 95) / 2)]


def test_the_first_thing_that_is_heard_of_a_job_starts_the_clock() -> None:
    uploaded, created = Remaining(10, rate=1), Remaining(10, rate=1)
    uploaded.uploaded(5)
    created.created(0, 5)
    assert None not in {told_s(uploaded, 6), told_s(created, 6)}


@pytest.mark.parametrize("begun_at", [0, 1000])
@pytest.mark.parametrize(("total", "expected_s"), [(50, 10 + 28), (40, 60)])
def test_while_tasks_are_created_the_last_is_taken_for_a_slow_one_if_that_is_sooner_than_speed_has_it(
    total: int, expected_s: float, begun_at: float
) -> None:
    """One is created each second, and one found done every other second: the slowest tenth after 28 seconds."""
    remaining = Remaining(total)
    for second in range(40):
        remaining.created(second, begun_at + second)
        if second >= 20 and not second % 2:
            remaining.ended((second - 20) // 2, begun_at + second)
    assert told_s(remaining, begun_at + 40) == pytest.approx(expected_s)


def test_speed_is_told_once_five_have_ended_and_counts_from_the_first_of_them() -> None:
    remaining = Remaining(10)
    for job in range(10):
        remaining.created(job, 0)
    for job, now in enumerate((20, 30, 31, 32)):
        remaining.ended(job, now)
    assert told_s(remaining, 33) is None
    remaining.ended(4, 33)
    assert told_s(remaining, 34) == pytest.approx(14), "as long as the five took"


@pytest.mark.parametrize("begun_at", [0, 5000])
@pytest.mark.parametrize(("gap_s", "took_s", "expected_s"), [(0.1, 0.5, 0.5), (1, 1000, 3500)])
def test_the_speed_of_quick_jobs_is_told_and_that_of_ones_that_came_to_a_stop(
    gap_s: float, took_s: float, expected_s: float, begun_at: float
) -> None:
    """Where none has ended in the last seven tenths of the time, it is taken that one did."""
    remaining = Remaining(10)
    for job in range(10):
        remaining.created(job, begun_at)
    for job in range(5):
        remaining.ended(job, begun_at + job * gap_s)
    assert told_s(remaining, begun_at + took_s) == pytest.approx(expected_s, rel=0.3)


def test_when_all_tasks_are_created_speed_does_not_count_any_more() -> None:
    remaining = Remaining(10, foresee=lambda _upcoming, _over_s: TimeLeft(40, 40))
    for job in range(10):
        remaining.created(job, job)
        if job >= 4:
            remaining.ended(job - 4, job)
    assert told_s(remaining, 10) == 40


def test_of_jobs_that_were_begun_those_tasks_are_to_come_that_were_not_created() -> None:
    asked = list[tuple[Mapping[TaskKind, int], float]]()

    def foresee(upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        asked.append((upcoming, over_s))
        return TimeLeft(1, 1)

    remaining = Remaining(5, foresee=foresee)
    for job in range(5):
        remaining.expected(job, IMAGE if job else VIDEO)
    remaining.created(0, 1)
    remaining.created(1, 1)
    remaining.ended(1, 2)
    remaining.ended(2, 2)  # failed before
    remaining.left(2)
    assert asked == [(Counter({IMAGE: 2}), 0)], "at once, where any number of calls may leave"


@pytest.mark.parametrize(("ended", "over_s"), [(4, 45), (5, 180)])
def test_the_last_task_is_created_when_calls_allow_it_and_no_faster_than_others_were(ended: int, over_s: float) -> None:
    asked = list[float]()

    def foresee(_upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        asked.append(over_s)
        return TimeLeft(0, 0)

    remaining = Remaining(100, rate=4, foresee=foresee)
    for job in range(100):
        remaining.uploaded(0)
        if job < 10:
            remaining.created(job, 2 * job)
    for job in range(ended):
        remaining.ended(job, 20)
    remaining.left(20)
    assert asked == [pytest.approx(over_s, rel=0.02)]


def test_when_all_tasks_are_created_only_looks_are_left() -> None:
    asked = list[tuple[Mapping[TaskKind, int], float]]()

    def foresee(upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        asked.append((upcoming, over_s))
        return TimeLeft(0, 0)

    remaining = Remaining(3, rate=2, foresee=foresee)
    for job in range(3):
        remaining.expected(job, IMAGE)
        remaining.uploaded(0)
        remaining.created(job, 0)
    assert told_s(remaining, 0) == pytest.approx(1.575)
    remaining.ended(0, 1)
    assert told_s(remaining, 1) == pytest.approx(1.05)
    assert asked == [(Counter(), 0)]
