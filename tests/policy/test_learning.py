"""When tasks are looked at, and what is learnt from that."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.config import VIDNOZ
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import Plan, Watch
from facewarp_async.policy.watching import WatchBook
from facewarp_async.policy.windows import SIZES
from tests.policy.looking import added, look

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def polling(typical_s: float = 6, spread: float = 0.6, *, seen: int = 0) -> LearntPolling:
    return LearntPolling({kind: Durations(typical_s, spread, seen=seen) for kind in TaskKind})


def test_it_starts_from_the_providers_typical_times() -> None:
    policy = LearntPolling.for_provider(VIDNOZ)
    assert policy.durations(IMAGE).typical_s == pytest.approx(6)
    assert policy.durations(VIDEO).typical_s == pytest.approx(90)


def test_a_look_comes_when_most_tasks_are_done_and_is_overdue_when_nearly_all_are() -> None:
    policy = polling(seen=9)
    plan, durations = policy.plan(added(policy, 100)), policy.durations(IMAGE)
    shares = [durations.done_by(at - 100) for at in (plan.eager, plan.early, plan.late)]
    assert shares == pytest.approx([0.15, 0.9, 0.98])


def test_a_look_in_vain_puts_the_next_off_by_a_part_of_the_time_so_far() -> None:
    policy = polling(6, 0.08, seen=9)
    watch = added(policy, 0)
    look(policy, watch, 60, done=False)  # ten times as long as any other
    assert 60 + 0.05 * 60 <= policy.plan(watch).early <= 60 + 0.6 * 60
    look(policy, watch, 80, done=False)
    assert 80 + 0.3 * 80 <= policy.plan(watch).early <= 80 + 0.6 * 80
    assert policy.plan(watch).eager >= 80 + 0.05 * 80, "also where the batch waits for it"


def test_the_next_look_is_put_off_by_a_twentieth_at_first_and_by_three_tenths_from_then_on() -> None:
    """Where the durations would have it sooner."""
    policy = polling(6, 0.15, seen=9)
    watch = added(policy, 0)
    for at, early in ((60, 63), (80, 104), (100, 130)):
        look(policy, watch, at, done=False)
        assert policy.plan(watch).early == pytest.approx(early)


@pytest.mark.parametrize(("typical_s", "at", "early"), [(6, 60, 96), (60, 600, 660)])
def test_the_next_look_is_put_off_by_six_tenths_at_most_and_no_more_than_a_minute(
    typical_s: float, at: float, early: float
) -> None:
    policy = polling(typical_s, 1.5, seen=9)
    watch = added(policy, 0)
    look(policy, watch, at, done=False)
    assert policy.plan(watch).early == pytest.approx(early)


def test_at_first_the_service_is_believed_to_work_on_all_tasks_at_once() -> None:
    policy = polling()
    assert policy.window == max(SIZES)
    assert policy.window > 10**5


def test_nine_tasks_in_ten_are_quicker_than_a_slow_one() -> None:
    assert polling().durations(IMAGE).done_by(polling().slow_s(IMAGE)) == pytest.approx(0.9)


def test_the_end_is_told_of_tasks_that_wait_and_of_those_to_come() -> None:
    policy = polling(6, 0.15)
    assert policy.work_left(0, upcoming={IMAGE: 20}, over_s=100) == pytest.approx((106, 106), rel=0.05)
    added(policy, 200)
    assert policy.work_left(202, upcoming={}, over_s=0) == pytest.approx((4, 4), abs=2)


def test_tasks_are_planned_anew_once_durations_have_moved_by_more_than_a_twentieth() -> None:
    policy = polling(seen=9)
    watches = [added(policy, 0) for _ in range(3)]
    typical_s, early = policy.durations(IMAGE).typical_s, policy.plan(watches[2]).early
    look(policy, watches[0], 7, done=True)
    assert policy.plan(watches[2]).early == pytest.approx(early, rel=0.05)
    assert [*policy.outdated()] == []
    look(policy, watches[1], 3, done=True)
    assert policy.durations(IMAGE).typical_s < typical_s
    assert policy.plan(watches[2]).early < 0.95 * early
    assert watches[2] in {*policy.outdated()}


def test_while_nothing_is_known_only_the_oldest_of_a_kind_is_looked_at_early() -> None:
    policy = polling()
    first, second, video = added(policy, 0), added(policy, 0), added(policy, 0, VIDEO)
    durations = policy.durations(IMAGE)
    assert policy.plan(first).early == pytest.approx(durations.when_done(0.3))
    assert policy.plan(video).early == pytest.approx(durations.when_done(0.3))
    assert policy.plan(second).early == policy.plan(second).late == pytest.approx(durations.when_done(0.98))
    look(policy, first, 3, done=True)
    assert second in list(policy.outdated())
    assert policy.plan(second).early == pytest.approx(policy.durations(IMAGE).when_done(0.3)), "the next scout"


def test_once_four_were_found_done_nobody_is_looked_at_ahead() -> None:
    policy = polling()
    watches = [added(policy, 0) for _ in range(6)]
    for watch in watches[:4]:
        look(policy, watch, 5, done=True)
    for watch in [*watches[4:], added(policy, 10)]:
        assert policy.plan(watch).early == pytest.approx(watch.created_at + policy.durations(IMAGE).when_done(0.9))


def test_a_task_of_an_earlier_run_is_due_at_once_and_teaches_nothing() -> None:
    policy = polling()
    watch = Watch(IMAGE, 100, is_fresh=False)
    policy.add(watch)
    assert policy.plan(watch) == Plan(100, 100, 100)
    look(policy, watch, 100.1, done=False)
    assert policy.durations(IMAGE).seen == 0
    assert policy.plan(watch).early == pytest.approx(100 + policy.durations(IMAGE).when_done(0.3), abs=0.1)
    look(policy, watch, 200, done=True)
    assert policy.durations(IMAGE).seen == 0


def test_where_beliefs_differ_on_whether_a_task_has_begun_a_look_at_it_is_a_bet() -> None:
    policy = polling(seen=9)
    oldest, younger = added(policy, 0), added(policy, 0)
    assert (policy.plan(oldest).is_bet, policy.plan(younger).is_bet) == (False, True)


def test_tasks_that_are_found_not_done_though_due_are_taken_to_queue() -> None:
    policy = polling(seen=9)
    watches = [added(policy, 0) for _ in range(40)]
    for watch in watches[:4]:
        look(policy, watch, 12, done=True)
    for watch in watches[4:8]:
        look(policy, watch, 12, done=False)
    assert policy.window <= 8
    assert policy.plan(watches[30]) == Plan(math.inf, math.inf, math.inf)


def test_one_task_found_done_that_was_thought_to_queue_frees_all_that_were_created_with_it() -> None:
    policy = polling(seen=9)
    watches = [added(policy, 0) for _ in range(64)]
    for watch in watches[:3]:
        look(policy, watch, 12, done=False)
    assert policy.window < 64
    for watch in watches[20:22]:  # as overdue looks come
        look(policy, watch, 20, done=True)
    assert policy.window >= 64
    assert {*watches[22:]} <= {*policy.outdated()}
    assert policy.plan(watches[63]).early < 20


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_it_finds_out_how_many_tasks_the_service_works_on(workers: int) -> None:
    """A hundred tasks wait at any time."""
    book_of, draw, free_at = WatchBook(policy := polling()), random.Random(1), [0.0] * workers
    ends, now, windows = dict[Watch, float](), 0.0, list[int]()
    for _ in range(1500):
        while len(book_of) < 100:
            watch = book_of.add(IMAGE, now, is_fresh=True)
            ends[watch] = max(now, free_at[0]) + 5 * draw.lognormvariate(0, 0.45)
            heapq.heapreplace(free_at, ends[watch])
        book_of.catch_up(now)
        now = max(now, book_of.next_at(at_end=False))
        book_of.catch_up(now)
        found = book_of.pick(now, only_overdue=False)
        if found is not None:
            done = ends[found] <= now
            book_of.looked(found, now, done=done)
            if done:
                book_of.remove(found, now)
            windows.append(policy.window)
    assert workers / 2 <= sorted(windows)[len(windows) // 2] <= 2 * workers


def test_a_task_that_is_struck_off_makes_room() -> None:
    policy = polling(seen=9)
    watches = [added(policy, 0) for _ in range(40)]
    for watch in watches[:4]:
        look(policy, watch, 12, done=False)
    next_one = watches[policy.window]
    assert policy.plan(next_one).early == math.inf
    list(policy.outdated())
    policy.remove(watches[0], 50)
    assert list(policy.outdated()) == [next_one]
    assert 50 < policy.plan(next_one).early < 70


def test_what_many_tasks_have_taught_is_kept() -> None:
    policy = polling()
    for number in range(40):
        watch = added(policy, 10 * number)
        look(policy, watch, watch.created_at + 3, done=True)
    assert set(policy.settled()) == {IMAGE}
    assert 1 < policy.settled()[IMAGE].typical_s < 3


def test_of_the_credible_beliefs_the_shortest_times_are_kept() -> None:
    """Two tasks at a time are found done together: both were worked on, or one after the other, twice as fast."""
    policy = polling(seen=9)
    for number in range(30):
        for watch in [added(policy, 100 * number) for _ in range(2)]:
            look(policy, watch, watch.created_at + 3, done=True)
    assert policy.window > 1
    assert policy.settled()[IMAGE].typical_s < 0.8 * policy.durations(IMAGE).typical_s


@given(st.lists(st.tuples(st.floats(0, 1e5), st.booleans()), max_size=100), st.floats(0.02, 1e4), st.floats(0.1, 1.4))
def test_whatever_looks_find_no_plan_is_in_the_past_or_never(
    outcomes: list[tuple[float, bool]], typical_s: float, spread: float
) -> None:
    policy, now = polling(typical_s, spread), 0.0
    watches = [added(policy, 0) for _ in range(3)]
    for waited_s, done in outcomes:
        now, watch = now + waited_s, watches.pop(0)
        look(policy, watch, now, done=done)
        watches.append(added(policy, now) if done else watch)
        for each in watches:
            plan = policy.plan(each)
            began_at = each.begins[-1]
            assert began_at < plan.eager <= plan.early <= plan.late
            if each.looks:
                assert plan.early > each.looked_at
        assert min(policy.plan(each).early for each in watches) < math.inf, "one is always looked at again"
