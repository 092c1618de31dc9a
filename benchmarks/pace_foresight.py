"""How well the end of a batch is foreseen, and how well anybody could foresee it."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Sequence

from attrs import evolve, frozen

from benchmarks.pace_regimes import Durations, Regime, called_at, created_at, kinds_of, law_of, work_off
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations as Believed
from facewarp_async.policy.polling import TimeLeft

_STORIES = 60
MOMENTS = 60
"""How often a batch is asked for what it has left."""

_GOOD = 0.25
_WIDEST = 100.0

Told = Sequence[tuple[float, TimeLeft]]
"""When something was told, and what."""


@frozen(kw_only=True)
class Foresight:
    """How well the time that is left was told, at moments from a third to nine tenths of a batch's time.

    Attributes:
        error: By which share of the truth it was wrong, on average: the one time that was told, or the nearer of two,
            where the truth was not between them.
        good: The share of moments when that was at most a quarter.
        width: How many times as long as the least the most was that was told, in the middle; a hundred at most.
    """

    error: float
    good: float
    width: float


def foresight(told: Told, began_at: float, ended_at: float) -> Foresight | None:
    """Compare what was told with what came; ``None`` where nothing was told in that part of the time."""
    errors, widths, took_s = list[float](), list[float](), ended_at - began_at
    for now, (least_s, most_s) in told:
        if took_s / 3 <= now - began_at <= 0.9 * took_s:
            left_s = ended_at - now
            errors.append(max(least_s - left_s, left_s - most_s, 0.0) / left_s)
            widths.append(min(most_s / max(least_s, 1e-9), _WIDEST))
    if not errors:
        return None
    good = sum(error <= _GOOD for error in errors) / len(errors)
    return Foresight(error=statistics.mean(errors), good=good, width=statistics.median(widths))


def best_error(regime: Regime, jobs: int, seed: int) -> float:
    """Return by which share one time that is told is wrong at least, on average.

    Known are, at each moment, the laws of the durations, how many tasks are worked on at once, when each one was or
    will be created, and which have ended, as soon as they have. Told is what is least wrong on average then.

    Args:
        regime: The service.
        jobs: How many there are, videos first.
        seed: Of what the tasks take.
    """
    regime = evolve(regime, factor=1.0)
    kinds = sorted(kinds_of(regime, jobs, seed), key=lambda kind: not kind.is_video)
    draw = Durations(regime, jobs, seed)
    worked_on = list(work_off(regime, [draw(kind) for kind in kinds]))
    batch_ends_at = max(*(end for _, end in worked_on), called_at(regime, jobs))
    told = []
    for moment in range(MOMENTS // 3, MOMENTS):
        now = batch_ends_at * moment / MOMENTS
        begun = [began_at for began_at, _ in worked_on if began_at <= now]
        is_left = [end > now for _, end in worked_on]
        stories = [
            _story(regime, kinds, begun, is_left, now=now, draw=random.Random(f"{seed} {moment} {story}"))
            for story in range(_STORIES)
        ]
        best_s = _least_wrong(stories)
        told.append((now, TimeLeft(best_s, best_s)))
    seen = foresight(told, 0.0, batch_ends_at)
    assert seen is not None
    return seen.error


def _story(
    regime: Regime,
    kinds: Sequence[TaskKind],
    begun: Sequence[float],
    is_left: Sequence[bool],
    *,
    now: float,
    draw: random.Random,
) -> float:
    """Return in how many seconds the batch ends if tasks take what their laws allow."""

    def takes(number: int, known_s: float = 0.0) -> float:
        median, spread = law_of(regime, kinds[number], number / len(kinds))
        took = Believed(median, spread).when_done(draw.uniform(1e-6, 1 - 1e-6), not_by_s=known_s)
        return max(known_s, min(max(took, median / 4), 4 * median))

    busy = [began_at + takes(number, now - began_at) for number, began_at in enumerate(begun) if is_left[number]]
    free_at = busy + [now] * (regime.workers - len(busy))
    heapq.heapify(free_at)
    end = max(free_at)
    for number in range(len(begun), len(kinds)):
        done_at = max(free_at[0], created_at(regime, number + 1)) + takes(number)
        heapq.heapreplace(free_at, done_at)
        end = max(end, done_at)
    return max(end, called_at(regime, len(kinds))) - now


def _least_wrong(stories: Sequence[float]) -> float:
    """Return the time that is wrong by the least share of what it turns out to be: the median, of short ones more."""
    stories = sorted(stories)
    half = sum(1 / seconds for seconds in stories) / 2
    for seconds in stories:
        half -= 1 / seconds
        if half <= 0:
            return seconds
    raise AssertionError("there is a story")
