"""How well anybody could tell when a batch will end who knows all of the service but what each task will take."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence

from attrs import evolve

from benchmarks.pace_regimes import Durations, Regime, called_at, created_at, error_of, kinds_of, law_of, work_off
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations as Believed

_STORIES = 60
_MOMENTS = 25


def best_error(regime: Regime, jobs: int, seed: int) -> float:
    """Return by which share the remaining time is wrong at least, on average, as `error_of` counts it.

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
    ends = sorted(end for _, end in worked_on)
    batch_ends_at = max(ends[-1], called_at(regime, jobs))
    told = []
    for number in range(jobs // 3, math.floor(0.9 * jobs), max(1, jobs // _MOMENTS)):
        begun = [began_at for began_at, _ in worked_on if began_at <= ends[number]]
        is_left = [end > ends[number] for _, end in worked_on]
        stories = [
            _story(regime, kinds, begun, is_left, now=ends[number], draw=random.Random(f"{seed} {number} {story}"))
            for story in range(_STORIES)
        ]
        told.append(((number + 1) / jobs, ends[number], ends[number] + _least_wrong(stories)))
    return error_of(told, batch_ends_at)


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
