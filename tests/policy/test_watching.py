"""Which task is looked at next."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import FixedPolling, Plan, TimeLeft, Watch
from facewarp_async.policy.watching import Entry, WatchBook, Watched

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


@define
class Planned:
    """Plans looks as it is told to: so long after the creation, or after the last look."""

    eager_s: float = 3
    early_s: float = 6
    late_s: float = 15
    bets: bool = False
    anew: list[Watch] = field(factory=list)
    asked: list[tuple[float, bool]] = field(factory=list)
    removed: list[tuple[Watch, float]] = field(factory=list)

    def add(self, _watch: Watch, /) -> None:
        pass

    def plan(self, watch: Watch, /) -> Plan:
        at = watch.looked_at
        return Plan(at + self.eager_s, at + self.early_s, at + self.late_s, self.bets)

    def learn(self, _watch: Watch, asked_at: float, done: bool, /) -> None:
        self.asked.append((asked_at, done))

    def remove(self, watch: Watch, now: float, /) -> None:
        self.removed.append((watch, now))

    def outdated(self) -> Iterable[Watch]:
        anew, self.anew = self.anew, []
        return anew

    def slow_s(self, kind: TaskKind, /) -> float:
        return 100 if kind.is_video else 9

    def work_left(self, _now: float, /, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft | None:
        return None


def pick(book: WatchBook, now: float, *, only_overdue: bool, at_end: bool = False) -> Watched | None:
    """Pick as the pacer does."""
    book.catch_up(now)
    return book.pick(now, only_overdue=only_overdue, at_end=at_end)


def test_no_task_is_looked_at_before_its_time() -> None:
    book = WatchBook(Planned())
    watched = book.add(IMAGE, 0, is_fresh=True)
    assert book.next_at(at_end=False) == 6
    assert pick(book, 5.9, only_overdue=False) is None
    assert pick(book, 6, only_overdue=False) is watched


def test_a_task_that_is_being_looked_at_is_not_picked_again() -> None:
    book = WatchBook(Planned())
    book.add(IMAGE, 0, is_fresh=True)
    assert pick(book, 6, only_overdue=False) is not None
    assert pick(book, 100, only_overdue=False) is None
    assert book.next_at(at_end=False) == math.inf


def test_while_other_calls_wait_only_overdue_tasks_are_picked_the_most_overdue_first() -> None:
    book = WatchBook(Planned())
    first, second = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 1, is_fresh=True)
    assert pick(book, 14.9, only_overdue=True) is None
    assert pick(book, 16.5, only_overdue=True) is first
    assert pick(book, 16.5, only_overdue=True) is second


def test_a_task_that_never_is_due_is_planned_anew_when_the_policy_says_so() -> None:
    policy = Planned(math.inf, math.inf, math.inf)
    book = WatchBook(policy)
    older, younger = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 0, is_fresh=True)
    assert book.next_at(at_end=True) == math.inf
    policy.early_s, policy.anew = 7, [younger, older]
    book.remove(older, 2)
    book.catch_up(2)
    assert book.next_at(at_end=False) == 7
    assert pick(book, 7, only_overdue=False) is younger
    policy.anew = [younger]
    book.missed(younger, 8)
    assert book.next_at(at_end=False) == 15


def test_thousands_of_tasks_are_planned_anew_in_slices_and_none_is_forgotten() -> None:
    policy = Planned(math.inf, math.inf, math.inf)
    book = WatchBook(policy)
    watched = [book.add(IMAGE, 0, is_fresh=True) for _ in range(1000)]
    policy.early_s, policy.anew = 7, [*watched]
    book.catch_up(1)
    assert sum(each.plan.early < math.inf for each in watched) < 100
    while book.is_behind:
        book.catch_up(1)
    assert all(each.plan.early == 7 for each in watched)


def test_plans_that_do_not_count_any_more_do_not_pile_up() -> None:
    policy = Planned()
    book = WatchBook(policy)
    watched = [book.add(IMAGE, 0, is_fresh=True) for _ in range(10)]
    for _ in range(1000):
        policy.anew = [*watched]
        book.missed(watched[0], 0)
    assert len(book._planned) <= 2 * 10 + 256
    assert pick(book, 6, only_overdue=False) in watched


def test_a_task_that_is_struck_off_is_not_looked_at_and_the_policy_is_told_once() -> None:
    policy = Planned()
    book = WatchBook(policy)
    gone, other = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 5, is_fresh=True)
    assert (gone in book, len(book)) == (True, 2)
    for now in (1, 2):
        book.remove(gone, now)
    assert (gone in book, other in book, len(book)) == (False, True, 1)
    assert gone.is_away
    assert policy.removed == [(gone, 1)]
    assert book.next_at(at_end=False) == 11
    assert [pick(book, 100, only_overdue=False) for _ in range(2)] == [other, None]


def test_an_empty_book_has_nothing_to_look_at() -> None:
    book = WatchBook(Planned())
    assert book.next_at(at_end=True) == math.inf
    assert pick(book, 100, only_overdue=False, at_end=True) is None


def test_a_task_is_overdue_from_its_late_date_on() -> None:
    book = WatchBook(Planned())
    watched = book.add(IMAGE, 0, is_fresh=True)
    assert pick(book, 15, only_overdue=True) is watched


def test_looks_are_counted_and_one_without_an_answer_counts_as_one_if_it_is_the_first() -> None:
    book = WatchBook(Planned())
    watched = book.add(IMAGE, 0, is_fresh=True)
    book.missed(watched, 1)
    assert watched.looks == 1
    for now in (10, 20):
        book.looked(watched, now, done=False)
    book.missed(watched, 30)
    assert (watched.looks, watched.looked_at) == (3, 30)


@pytest.mark.parametrize("bets", [False, True])
def test_a_look_that_nobody_could_make_is_due_again_at_once(bets: bool) -> None:
    book = WatchBook(Planned(bets=bets))
    watched = book.add(IMAGE, 0, is_fresh=True)
    for _ in range(3):
        assert pick(book, 6, only_overdue=False) is watched
        was_away = watched.is_away
        book.put_back(watched)
        assert (was_away, watched.is_away) == (True, False)
        assert book.next_at(at_end=False) == -math.inf
    assert pick(book, 6, only_overdue=False) is watched
    assert pick(book, 6, only_overdue=False) is None, "once"
    book.remove(watched, 7)
    book.put_back(watched)
    assert book.next_at(at_end=False) == math.inf
    assert pick(book, 6, only_overdue=False) is None, "it was struck off meanwhile"


def test_the_next_look_is_the_earliest_of_those_that_are_planned() -> None:
    draw = random.Random(1)
    book = WatchBook(Planned())
    watched = [book.add(IMAGE, 0, is_fresh=True) for _ in range(200)]
    for _ in range(2000):
        kept = len(book._planned)
        book.missed(draw.choice(watched), draw.uniform(0, 100))
        if len(book._planned) < kept:  # plans that do not count any more were thrown away just now
            break
    for each in sorted(watched, key=lambda each: each.plan.early):
        assert book.next_at(at_end=False) == each.plan.early
        book.remove(each, 0)


class CountingBook(WatchBook):
    """Counts how often it asks whether a plan still counts."""

    asked = 0

    @staticmethod
    def _is_stale(entry: Entry) -> bool:
        CountingBook.asked += 1
        return WatchBook._is_stale(entry)


@pytest.mark.parametrize("tasks", [200, 2000])
def test_the_work_for_a_task_does_not_grow_with_the_number_of_the_others(tasks: int) -> None:
    CountingBook.asked = 0
    book = CountingBook(Planned())
    watched = [book.add(IMAGE, 0, is_fresh=True) for _ in range(tasks)]
    for number, each in enumerate(watched):
        book.missed(each, 0.001 * number)
    assert CountingBook.asked <= 4 * tasks


def test_one_bet_is_made_at_a_time_and_one_more_with_each_that_is_won() -> None:
    book = WatchBook(Planned(bets=True))
    watched = [book.add(IMAGE, 0, is_fresh=True) for _ in range(9)]
    assert pick(book, 20, only_overdue=False) is watched[0]
    assert pick(book, 20, only_overdue=False) is None
    assert book.next_at(at_end=False) == math.inf
    book.looked(watched[0], 20, done=True)
    book.remove(watched[0], 20)
    assert [pick(book, 20, only_overdue=True) for _ in range(3)] == [watched[1], watched[2], None]
    book.looked(watched[1], 20, done=True)
    book.looked(watched[2], 20, done=True)
    assert sum(pick(book, 20, only_overdue=True) is not None for _ in range(9)) == 4


def test_after_a_bet_that_is_lost_one_is_made_at_a_time_again() -> None:
    book = WatchBook(Planned(bets=True))
    for _ in range(9):
        book.add(IMAGE, 0, is_fresh=True)
    for done in (True, True, False):
        watched = pick(book, 20, only_overdue=False)
        assert watched is not None
        book.looked(watched, 20, done=done)
    assert sum(pick(book, 20, only_overdue=True) is not None for _ in range(9)) == 1


def test_a_bet_that_is_struck_off_or_not_answered_lets_the_next_one_go() -> None:
    book = WatchBook(Planned(bets=True))
    first, second, third = (book.add(IMAGE, 0, is_fresh=True) for _ in range(3))
    assert pick(book, 6, only_overdue=False) is first
    book.remove(first, 6)
    assert pick(book, 6, only_overdue=False) is second
    book.missed(second, 6.5)
    assert pick(book, 6.5, only_overdue=False) is third


def test_bets_keep_no_other_look_waiting() -> None:
    policy = Planned(bets=True)
    book = WatchBook(policy)
    bet = book.add(IMAGE, 0, is_fresh=True)
    book.add(IMAGE, 0, is_fresh=True)
    policy.bets = False
    sure = book.add(IMAGE, 0.5, is_fresh=True)
    assert pick(book, 7, only_overdue=False) is bet
    assert book.next_at(at_end=False) == -math.inf
    assert pick(book, 7, only_overdue=False) is sure


def test_the_task_that_will_be_the_last_is_looked_at_sooner() -> None:
    book = WatchBook(Planned())
    other = book.add(IMAGE, 9, is_fresh=True)
    last = book.add(IMAGE, 10, is_fresh=True)
    assert book.next_at(at_end=True) == 13
    assert pick(book, 13, only_overdue=False, at_end=False) is None
    assert pick(book, 13, only_overdue=False, at_end=True) is last
    assert pick(book, 13, only_overdue=False, at_end=True) is None, "one at a time"
    book.remove(other, 14)
    assert pick(book, 100, only_overdue=False, at_end=True) is None, "nor again when it would be due"
    book.missed(last, 100)
    assert pick(book, 103, only_overdue=False, at_end=True) is last, "so soon again, for nothing was found out"


@pytest.mark.parametrize(("gone", "few"), [(0, 4), (400, 4), (1000, 10)])
def test_of_few_tasks_or_of_a_hundredth_of_all_one_is_the_last(gone: int, few: int) -> None:
    book = WatchBook(Planned())
    for _ in range(gone):
        book.remove(book.add(IMAGE, 0, is_fresh=True), 1)
    watched = [book.add(IMAGE, 10, is_fresh=True) for _ in range(few + 1)]
    assert book.next_at(at_end=True) == 16, "no task is looked at sooner before the end"
    book.remove(watched[0], 11)
    assert book.next_at(at_end=True) == 13


def test_a_look_without_an_answer_is_tried_again_and_teaches_nothing() -> None:
    policy = Planned()
    book = WatchBook(policy)
    watched = book.add(IMAGE, 0, is_fresh=True)
    assert pick(book, 6, only_overdue=False) is watched
    book.missed(watched, 6.5)
    assert policy.asked == []
    assert pick(book, 12.5, only_overdue=False) is watched


def test_slow_are_the_tasks_of_the_slowest_kind_that_is_waited_for() -> None:
    book = WatchBook(Planned())
    assert book.slow_s() == 0
    book.add(IMAGE, 0, is_fresh=True)
    video = book.add(VIDEO, 0, is_fresh=True)
    assert book.slow_s() == 100
    book.remove(video, 1)
    assert book.slow_s() == 9


policies = st.sampled_from([lambda: LearntPolling({kind: Durations(5) for kind in TaskKind}), FixedPolling, Planned])


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.floats(0.1, 60), st.sampled_from([IMAGE, VIDEO]), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.floats(0.02, 3),
    policies,
    st.booleans(),
)
def test_every_task_is_found_done_in_the_end_and_none_is_looked_at_before_its_time(
    tasks: list[tuple[float, float, TaskKind, bool]], tick_s: float, make_policy: type[FixedPolling], at_end: bool
) -> None:
    book = WatchBook(make_policy())
    ends, now = {}, 0.0
    for created_at, takes_s, kind, is_fresh in sorted(tasks, key=lambda task: task[0]):
        ends[book.add(kind, created_at, is_fresh=is_fresh)] = created_at + takes_s
        now = created_at
    looks = 0
    while len(book):
        book.catch_up(now)
        due_at = book.next_at(at_end=at_end)
        assert due_at < math.inf
        now = max(now + tick_s, due_at)
        watched = pick(book, now, only_overdue=False, at_end=at_end)
        if watched is None:
            continue
        looks += 1
        assert looks < 60 * len(tasks)
        assert (watched.plan.eager if at_end else watched.plan.early) <= now
        done = ends[watched] <= now
        book.looked(watched, now, done=done)
        if done:
            book.remove(watched, now)
