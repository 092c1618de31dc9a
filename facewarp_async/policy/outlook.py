"""For how long the service will still work on tasks, as a window has it. Pure."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import Watch
from facewarp_async.policy.windows import Window

_STORIES = 8
_TOLD = 100
"""How many tasks of those that have not begun are told of singly: the last ones. The others are so much work."""


def work_left_s(window: Window, now: float, *, upcoming: Mapping[TaskKind, int], over_s: float) -> float:
    """Return in how many seconds the last task will be done.

    It tells itself some stories. In each, every task takes a random one of the times that the window's durations allow,
    and the workers take the tasks in the order of their creation. The answer is the end that a third of the stories
    come before: one that is too late is wrong by the larger share. The stories are the same each time, so that the
    answer does not jump.

    Args:
        window: What is believed of the service and of the tasks that are waited for.
        now: The time.
        upcoming: How many tasks are still to be created, by kind.
        over_s: In how many seconds the last of them will be created.
    """
    ends = sorted(
        _story(window, now, upcoming, over_s, random.Random(number))  # noqa: S311 - no secret
        for number in range(_STORIES)
    )
    return ends[_STORIES // 3]


def _story(window: Window, now: float, upcoming: Mapping[TaskKind, int], over_s: float, draw: random.Random) -> float:
    free_in = [_ends_in(window, watch, now, draw) for watch in window.begun]
    coming = _coming(window, upcoming, over_s, draw)
    workers = min(window.size, len(free_in) + max(1, len(coming)))
    free_in += [0.0] * (workers - len(free_in))
    work_s = sum(_mean_s(window, kind) for _, kind in coming[:-_TOLD])
    free_in = [seconds + work_s / workers for seconds in free_in]
    heapq.heapify(free_in)
    end_in = max(free_in)
    for created_in, kind in coming[-_TOLD:]:
        done_in = max(free_in[0], created_in) + window.durations[kind].when_done(_share(draw))
        heapq.heapreplace(free_in, done_in)
        end_in = max(end_in, done_in)
    return end_in


def _ends_in(window: Window, watch: Watch, now: float, draw: random.Random) -> float:
    began_at = watch.begins[window.index]
    took_s = window.durations[watch.taken_for].when_done(_share(draw), not_by_s=watch.known_s(began_at))
    return max(0.0, began_at + took_s - now)


def _coming(
    window: Window, upcoming: Mapping[TaskKind, int], over_s: float, draw: random.Random
) -> list[tuple[float, TaskKind]]:
    """Return the tasks that have not begun, in their order, each with in how many seconds it will be created."""
    kinds = [kind for kind, number in upcoming.items() for _ in range(number)]
    draw.shuffle(kinds)
    coming = [(0.0, watch.taken_for) for watch in window.queue if watch.begins]
    return coming + [(over_s * number / len(kinds), kind) for number, kind in enumerate(kinds, 1)]


def _mean_s(window: Window, kind: TaskKind) -> float:
    durations = window.durations[kind]
    return durations.typical_s * math.exp(durations.spread**2 / 2)


def _share(draw: random.Random) -> float:
    return min(max(draw.random(), 0.005), 0.995)
