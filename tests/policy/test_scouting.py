"""How what nothing is known of is found out where the service takes any number of calls."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from facewarp_async.config import VIDNOZ
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import Watch
from facewarp_async.policy.watching import WatchBook, Watched
from tests.policy.looking import added, look

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


def polling(typical_s: float = 6, *, seen: int = 0, is_unlimited: bool = True) -> LearntPolling:
    return LearntPolling({kind: Durations(typical_s, seen=seen) for kind in TaskKind}, is_unlimited=is_unlimited)


@pytest.mark.parametrize(("tasks", "gap"), [(1, 0.9), (4, 0.45), (36, 0.15)])
def test_the_first_scout_looks_early_and_the_oftener_the_more_tasks_gain_by_it(tasks: int, gap: float) -> None:
    policy = polling()
    scout = added(policy, 0)
    for _ in range(tasks - 1):
        added(policy, 0)
    added(policy, 0, VIDEO)
    assert policy.plan(scout).early == pytest.approx(policy.durations(IMAGE).when_done(0.07))
    look(policy, scout, 2.5, done=False)
    usual_s = policy.durations(IMAGE).when_done(0.07, not_by_s=2.5)
    assert policy.plan(scout).early == pytest.approx(min(max(usual_s, 2.5 * 1.05), 2.5 * (1 + gap)))


def test_tasks_as_old_as_the_first_one_that_was_found_done_are_looked_at_until_one_is_not_done() -> None:
    policy = polling()
    first, second, third, fourth = (added(policy, 0) for _ in range(4))
    younger, video = added(policy, 1), added(policy, 0, VIDEO)
    look(policy, first, 3, done=True)
    assert {second, third, fourth, younger} <= {*policy.outdated()}
    # The next scout needs no lead.
    assert [policy.plan(watch).early for watch in (third, fourth, younger)] == [3, 3, 4]
    assert all(policy.plan(watch).is_bet for watch in (third, fourth, younger))
    assert not policy.plan(video).is_bet, "another kind"
    look(policy, third, 3.1, done=False)
    assert {second, third, fourth, younger} <= {*policy.outdated()}
    assert policy.plan(third).early > 3.1
    assert policy.plan(fourth).early == pytest.approx(policy.durations(IMAGE).when_done(0.9))


def test_a_look_at_a_younger_task_ends_no_lead() -> None:
    policy = polling()
    first, _, younger, other = (added(policy, at) for at in (0, 0, 2, 0))
    look(policy, first, 3, done=True)
    look(policy, younger, 3.5, done=False)
    assert policy.plan(other).early == 3
    assert policy.plan(younger).early > 2 + 3, "but it has none any more itself"


@pytest.mark.parametrize("took_s", [0.3, 3])
def test_a_lead_holds_for_quick_tasks_too_and_one_that_is_as_old_and_not_done_ends_it(took_s: float) -> None:
    policy = polling(2 * took_s)
    first, _, third, fourth = (added(policy, 0) for _ in range(4))
    look(policy, first, took_s, done=True)
    assert policy.plan(fourth).early == took_s
    look(policy, third, took_s, done=False)
    assert policy.plan(fourth).early > took_s


def test_there_are_no_leads_where_calls_are_limited_or_something_is_known() -> None:
    for policy in (polling(is_unlimited=False), polling(seen=4)):
        first, _, third = (added(policy, 0) for _ in range(3))
        look(policy, first, 3, done=True)
        assert policy.plan(third).early == pytest.approx(policy.durations(IMAGE).when_done(0.9))


def test_the_provider_tells_whether_calls_are_limited() -> None:
    first_s = {
        rate: (policy := LearntPolling.for_provider(evolve(VIDNOZ, requests_per_second=rate))).plan(added(policy, 0))
        for rate in (1.0, None)
    }
    assert first_s[None].early < 0.7 * first_s[1.0].early


def test_a_task_that_began_a_moment_before_it_was_looked_at_in_vain_is_given_its_time() -> None:
    """It was taken to be worked on for long; then it turned out to have queued."""
    policy = polling(seen=9)
    watches = [added(policy, 0) for _ in range(40)]
    look(policy, watches[20], 12, done=False)
    for watch in watches[:4]:
        look(policy, watch, 12, done=True)
    for watch in watches[4:8]:
        look(policy, watch, 12, done=False)
    assert policy.window <= 8
    late = watches[policy.window + 3]  # one of those that began when others ended
    began_at = late.begins[policy._believed.index]
    assert 5 < began_at < 12
    late.looks, late.looked_at = 1, began_at + 0.5
    assert policy.plan(late).early == pytest.approx(
        began_at + policy.durations(IMAGE).when_done(0.9, not_by_s=0.5), rel=0.01
    )


def test_a_scout_that_takes_long_is_given_a_second_and_no_third_until_one_is_found_done() -> None:
    policy = polling(is_unlimited=False)
    first, second, third = (added(policy, 0) for _ in range(3))
    durations = policy.durations(IMAGE)
    overdue, soon = durations.when_done(0.98), durations.when_done(0.3)
    look(policy, first, 5.9, done=False)
    assert policy.plan(second).early == pytest.approx(overdue), "half of them are not done yet"
    look(policy, first, 6.1, done=False)
    assert second in {*policy.outdated()}
    assert policy.plan(second).early == pytest.approx(soon)
    look(policy, second, 6.2, done=False)
    assert policy.plan(third).early == pytest.approx(overdue)
    look(policy, second, 7, done=True)
    look(policy, first, 8, done=True)
    assert policy.plan(third).early == pytest.approx(policy.durations(IMAGE).when_done(0.3)), "the next one"


def test_a_scout_takes_long_counted_from_its_beginning() -> None:
    policy = polling(is_unlimited=False)
    first, second = added(policy, 100), added(policy, 100)
    look(policy, first, 103, done=False)
    assert second not in {*policy.outdated()}
    look(policy, first, 107, done=False)
    assert second in {*policy.outdated()}


def test_a_scout_that_is_struck_off_is_replaced() -> None:
    policy = polling(is_unlimited=False)
    first, second = added(policy, 0), added(policy, 0)
    policy.remove(first, 1)
    assert second in {*policy.outdated()}
    assert policy.plan(second).early == pytest.approx(policy.durations(IMAGE).when_done(0.3))


def test_a_task_of_an_earlier_run_that_the_batch_waits_for_is_not_looked_at_at_every_chance() -> None:
    policy = polling(is_unlimited=False)
    watch = Watch(IMAGE, 0, is_fresh=False)
    policy.add(watch)
    look(policy, watch, 0.1, done=False)
    while watch.looked_at < 1000:
        look(policy, watch, policy.plan(watch).eager, done=False)
    assert watch.looks < 120


@pytest.mark.parametrize("took_s", [2.7, 3.0, 4.0, 6.0, 10.0])
def test_tasks_that_take_the_same_time_together_are_noticed_within_a_fifth_of_it(took_s: float) -> None:
    """Fifty that are worked on at once, of which nothing is known; a look takes ten milliseconds."""
    policy = polling()
    book, now, looks = WatchBook(policy), 0.0, 0
    for _ in range(50):
        book.add(IMAGE, now, is_fresh=True)
    answers: list[tuple[float, Watched]] = []
    while len(book):
        book.catch_up(now)
        while (watched := book.pick(now, only_overdue=False, at_end=True)) is not None:
            answers.append((now + 0.01, watched))
            looks += 1
        if answers and answers[0][0] <= max(now, book.next_at(at_end=True)):
            now, watched = answers.pop(0)
            book.looked(watched, now - 0.01, done=now - 0.01 >= took_s)
            if now - 0.01 >= took_s:
                book.remove(watched, now)
        else:
            now = max(now, book.next_at(at_end=True))
            assert now < math.inf
    assert now <= 1.2 * took_s
    assert looks <= 1.3 * 50
