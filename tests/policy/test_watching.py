"""Which task is looked at next."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import Delays, FixedPolling, LearntPolling
from facewarp_async.policy.watching import WatchBook

IMAGE = TaskKind.IMAGE_SWAP


def learnt(first_s: float = 6, *, window: int = 12) -> LearntPolling:
    return LearntPolling({kind: Delays(first_s, 0.4 * first_s) for kind in TaskKind}, window=window)


def test_no_task_is_looked_at_before_its_time() -> None:
    book = WatchBook(learnt())
    watched = book.add(IMAGE, 0, is_fresh=True)
    assert book.next_at(at_end=False) == 6
    assert book.pick(5.9, only_overdue=False) is None
    assert book.pick(6, only_overdue=False) is watched


def test_a_task_that_is_being_looked_at_is_not_picked_again() -> None:
    book = WatchBook(learnt())
    book.add(IMAGE, 0, is_fresh=True)
    assert book.pick(6, only_overdue=False) is not None
    assert book.pick(100, only_overdue=False) is None
    assert book.next_at(at_end=False) == math.inf


def test_while_other_calls_wait_only_overdue_tasks_are_picked_the_most_overdue_first() -> None:
    book = WatchBook(learnt())
    first, second = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 1, is_fresh=True)
    assert book.pick(14.9, only_overdue=True) is None
    assert book.pick(16.5, only_overdue=True) is first
    assert book.pick(16.5, only_overdue=True) is second


def test_tasks_beyond_the_window_wait_until_an_older_one_has_ended() -> None:
    book = WatchBook(learnt(window=1))
    older, younger = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 0, is_fresh=True)
    assert book.pick(6, only_overdue=False) is older
    book.looked(older, 6, done=True)
    book.remove(older, 6)
    assert younger.began_at == 6
    assert 11 < younger.early == book.next_at(at_end=False)


def test_the_window_holds_tasks_of_all_kinds_in_the_order_of_their_creation() -> None:
    book = WatchBook(learnt(window=2))
    first, video = book.add(IMAGE, 0, is_fresh=True), book.add(TaskKind.VIDEO_SWAP, 0, is_fresh=True)
    third = book.add(IMAGE, 0, is_fresh=True)
    assert [one.began_at for one in (first, video, third)] == [0, 0, None]
    book.remove(first, 7)
    assert third.began_at == 7


def test_after_many_hits_the_next_task_is_looked_at_half_way_to_its_date_one_at_a_time() -> None:
    book = WatchBook(FixedPolling(image_s=20, factor=1))
    watched = [book.add(IMAGE, index / 10, is_fresh=True) for index in range(8)]
    for one in watched[:5]:
        assert book.pick(one.early, only_overdue=False) is one
        book.looked(one, one.early - 1, done=True)
        book.remove(one, one.early)
    assert book.next_at(at_end=False) == 5.5
    assert book.pick(5.4, only_overdue=False) is None
    ahead = book.pick(5.6, only_overdue=False)
    assert ahead is watched[5]
    assert book.pick(9, only_overdue=False) is None
    book.looked(ahead, 5.6, done=False)
    assert book.pick(9, only_overdue=False) is None


def test_after_many_misses_the_youngest_queueing_task_is_looked_at() -> None:
    book = WatchBook(learnt(window=1))
    oldest = book.add(IMAGE, 0, is_fresh=True)
    youngest = [book.add(IMAGE, 0, is_fresh=True) for _ in range(3)][-1]
    now = 0.0
    for _ in range(5):
        now = oldest.early
        assert book.pick(now, only_overdue=False) is oldest
        book.looked(oldest, now, done=False)
    assert book.pick(now, only_overdue=False) is youngest


def test_a_queueing_task_is_looked_at_ahead_once_and_that_counts_for_nothing() -> None:
    policy = learnt(window=1)
    book = WatchBook(policy)
    oldest, youngest = book.add(IMAGE, 0, is_fresh=True), book.add(IMAGE, 0, is_fresh=True)
    for _ in range(5):
        assert book.pick(oldest.early, only_overdue=False) is oldest
        book.looked(oldest, oldest.early, done=False)
    samples, now = policy.samples, oldest.looked_at
    assert book.pick(now, only_overdue=False) is youngest
    book.looked(youngest, now, done=False)
    assert (policy.samples, youngest.looks) == (samples, 0)
    for _ in range(8):
        assert book.pick(oldest.early, only_overdue=False) is oldest
        book.looked(oldest, oldest.early, done=False)
    book.remove(oldest, 100)
    assert youngest.early == 100 + policy.delays(IMAGE).first_s


def test_the_last_tasks_are_looked_at_sooner() -> None:
    book = WatchBook(learnt())
    watched = book.add(IMAGE, 10, is_fresh=True)
    assert book.next_at(at_end=True) == 10 + 0.6 * 6
    assert book.pick(13.6, only_overdue=False, at_end=True) is watched


def test_a_look_without_an_answer_is_tried_again_and_teaches_nothing() -> None:
    policy = learnt()
    book = WatchBook(policy)
    watched = book.add(IMAGE, 0, is_fresh=True)
    assert book.pick(6, only_overdue=False) is watched
    book.missed(watched, 6.5)
    assert policy.samples == 0
    assert book.pick(9, only_overdue=False) is watched


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 60)), min_size=1, max_size=60),
    st.integers(1, 5),
    st.floats(0.02, 3),
)
def test_every_task_is_found_done_in_the_end(tasks: list[tuple[float, float]], window: int, tick_s: float) -> None:
    book = WatchBook(learnt(5, window=window))
    ends, now = {}, 0.0
    for created_at, takes_s in sorted(tasks):
        ends[book.add(IMAGE, created_at, is_fresh=True)] = created_at + takes_s
        now = created_at
    looks = 0
    while len(book):
        due_at = book.next_at(at_end=False)
        assert due_at < math.inf
        now = max(now + tick_s, due_at)
        watched = book.pick(now, only_overdue=False)
        if watched is None:
            continue
        looks += 1
        assert looks < 60 * len(tasks)
        done = ends[watched] <= now
        book.looked(watched, now, done=done)
        if done:
            book.remove(watched, now)
