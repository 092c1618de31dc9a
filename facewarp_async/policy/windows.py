"""Beliefs about how many tasks the service works on at once, and how well each explains what looks find. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping

from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.polling import Watch

SIZES: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000_000)
"""The last one holds all tasks."""

_LEAST, _MOST = 0.03, 0.97
"""No single look says more than this: the durations are learnt too, and may be wrong."""

_FADING = 0.995


class Window:
    """The belief that the service works on the oldest so many tasks that have not ended, and that the others queue.

    When a task began follows from that: when it was created, or when an older one ended and made room. Each window
    learns durations of its own, counted from those beginnings, and is judged by the looks: its evidence is the
    logarithm of how probable it took their outcomes to be, of which old ones fade.

    Args:
        index: Its place in `Watch.begins`.
        size: How many tasks.
        durations: What to start from, by kind.
    """

    def __init__(self, index: int, size: int, durations: Mapping[TaskKind, Durations]) -> None:
        self.index = index
        self.size = size
        self.durations: dict[TaskKind, Durations] = dict(durations)
        self.begun: dict[Watch, None] = {}
        """The tasks that are believed to be worked on, in the order of their beginnings."""
        self.evidence: float = 0.0
        self.queue: deque[Watch] = deque()
        """The others, and some that have been taken out."""

    def add(self, watch: Watch) -> None:
        """Take in the youngest task."""
        if len(self.begun) < self.size:
            watch.begins[self.index] = watch.created_at
            self.begun[watch] = None
        else:
            self.queue.append(watch)

    def weigh(self, watch: Watch, asked_at: float, done: bool) -> None:
        """Compare what a look has found with what was to be expected."""
        began_at = watch.begins[self.index]
        durations = self.durations[watch.taken_for]
        probable = durations.done_by(asked_at - began_at, not_by_s=watch.known_s(began_at))
        probable = min(max(probable, _LEAST), _MOST)
        self.evidence = _FADING * self.evidence + math.log(probable if done else 1 - probable)

    def finish(self, watch: Watch, asked_at: float) -> Iterator[Watch]:
        """Learn from a task that was found done; return those that have probably begun in its place."""
        began_at, ended_at = watch.begins[self.index], asked_at
        if began_at < math.inf:
            durations = self.durations[watch.taken_for]
            ended_at = began_at + durations.observe(watch.known_s(began_at), asked_at - began_at)
        return self.leave(watch, min(ended_at, asked_at))

    def leave(self, watch: Watch, at: float) -> Iterator[Watch]:
        """Take a task out; return those that have probably begun in its place at some time."""
        self.begun.pop(watch, None)
        while self.queue and len(self.begun) < self.size:
            following = self.queue.popleft()
            if following.begins and following is not watch:  # else it was taken out of the queue
                following.begins[self.index] = max(at, following.created_at)
                self.begun[following] = None
                yield following
