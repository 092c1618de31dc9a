"""For how long the service will still work on tasks, as a window has it. Pure."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import TimeLeft, Watch
from facewarp_async.policy.windows import Window

_STORIES = 12
_DRAWN = 12_000
"""How many tasks may get their times at once: where thousands are worked on, one story is as good as another."""

_TOLD = 100
"""How many tasks of those that have not begun are told of singly: the last ones. The others are so much work."""


def work_left(window: Window, now: float, *, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
    """Return in how many seconds the last task will be done, probably.

    It tells itself some stories. In each, every task takes a random one of the times that the window's durations allow,
    and the workers take the tasks in the order of their creation. The answer is the first and the last of the ends. The
    stories are the same each time, so that the answer does not jump.

    Args:
        window: What is believed of the service and of the tasks that are waited for.
        now: The time.
        upcoming: How many tasks are still to be created, by kind.
        over_s: In how many seconds the last of them will be created.
    """
    queued = [watch.taken_for for watch in window.queue if watch.begins]
    stories = min(_STORIES, max(1, _DRAWN // max(1, len(window.begun))))
    ends = [
        _story(window, now, random.Random(number), queued=queued, upcoming=upcoming, over_s=over_s)  # noqa: S311
        for number in range(stories)
    ]
    return TimeLeft(min(ends), max(ends))


def _story(
    window: Window,
    now: float,
    draw: random.Random,
    *,
    queued: Sequence[TaskKind],
    upcoming: Mapping[TaskKind, int],
    over_s: float,
) -> float:
    free_in = [_ends_in(window, watch, now, draw) for watch in window.begun]
    coming, others = _coming(queued, upcoming, over_s, draw)
    workers = min(window.size, len(free_in) + max(1, len(coming) + others.total()))
    free_in += [0.0] * min(workers - len(free_in), max(1, len(coming)))  # more would have nothing to do
    work_s = sum(number * _mean_s(window, kind) for kind, number in others.items())
    free_in = [seconds + work_s / workers for seconds in free_in]
    heapq.heapify(free_in)
    end_in = max(free_in)
    for created_in, kind in coming:
        done_in = max(free_in[0], created_in) + window.durations[kind].when_done(_share(draw))
        heapq.heapreplace(free_in, done_in)
        end_in = max(end_in, done_in)
    return end_in


def _ends_in(window: Window, watch: Watch, now: float, draw: random.Random) -> float:
    began_at = watch.begins[window.index]
    took_s = window.durations[watch.taken_for].when_done(_share(draw), not_by_s=watch.known_s(began_at))
    return max(0.0, began_at + took_s - now)


def _coming(
    queued: Sequence[TaskKind], upcoming: Mapping[TaskKind, int], over_s: float, draw: random.Random
) -> tuple[list[tuple[float, TaskKind]], Counter[TaskKind]]:
    """Return the last tasks that have not begun, with in how many seconds they will be created, and the others."""
    number = sum(upcoming.values())
    last = draw.sample(list(upcoming), min(_TOLD, number), counts=list(upcoming.values())) if number else []
    first = number - len(last)
    created_in = [over_s * (first + each) / number for each in range(1, len(last) + 1)]
    before = len(queued) - min(len(queued), _TOLD - len(last))
    coming = [(0.0, kind) for kind in queued[before:]] + list(zip(created_in, last, strict=True))
    return coming, Counter(upcoming) - Counter(last) + Counter(queued[:before])


def _mean_s(window: Window, kind: TaskKind) -> float:
    durations = window.durations[kind]
    return durations.typical_s * math.exp(durations.spread**2 / 2)


def _share(draw: random.Random) -> float:
    return min(max(draw.random(), 0.005), 0.995)
