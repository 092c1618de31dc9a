"""What the pace's benchmarks say that anybody could foresee."""

from __future__ import annotations

from attrs import evolve

from benchmarks.pace_foresight import best_error
from benchmarks.pace_regimes import STEADY, bound, created_at, work_off

(ANY_IMAGES,) = (regime for regime in STEADY if regime.name == "any, images")
(ANY_MIXED,) = (regime for regime in STEADY if regime.name == "any, mixed")
(ONE_A_SECOND,) = (regime for regime in STEADY if regime.name == "1/s, images")


def test_the_less_tasks_differ_the_better_the_end_is_known() -> None:
    alike, others = (best_error(evolve(ANY_IMAGES, spread=spread), 40, seed=1) for spread in (0.15, 0.45))
    assert alike < 0.05 < others


def test_long_tasks_of_uncertain_lengths_cannot_be_foreseen() -> None:
    images, mixed = (best_error(regime, 60, seed=2) for regime in (ANY_IMAGES, ANY_MIXED))
    assert images < 0.15 < 0.25 < mixed


def test_where_calls_are_what_is_waited_for_the_end_is_certain() -> None:
    assert best_error(ONE_A_SECOND, 60, seed=3) < 0.03


def test_tasks_begin_when_a_worker_is_free_and_they_are_created() -> None:
    two = evolve(ANY_IMAGES, workers=2)
    assert list(work_off(two, [5, 1, 1, 9])) == [(0, 5), (0, 1), (1, 2), (2, 11)]
    assert bound(two, [5, 1, 1, 9]).makespan_s == 11
    slow = evolve(ONE_A_SECOND, factor=1.0)
    assert [created_at(slow, number) for number in (1, 2, 3)] == [2, 4, 6], "after the face and each one's media"
