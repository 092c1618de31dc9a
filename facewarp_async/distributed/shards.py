"""Which worker has which jobs. Pure.

A shard is gone through in attempts, one after the other. Only the last one may change anything: a worker that was given
up and wakes finds that its attempt has ended.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from attrs import define, field

from facewarp_async.errors import ClusterError
from facewarp_async.journal import JobState
from facewarp_async.models import TaskKind
from facewarp_async.pipeline.fingerprints import Fingerprints


@define
class Held:
    """A job's record that an attempt works on: what the journal has of it."""

    state: JobState
    kind: TaskKind


@define(eq=False)
class Attempt:
    """A worker's work on a shard.

    Attributes:
        number: Its own, in the run.
        ordinal: The how manieth it is at its shard, from 1.
        owner: The worker.
        shard: The shard.
        held: The records that it works on, by key.
    """

    number: int
    ordinal: int
    owner: object
    shard: ShardState
    held: dict[bytes, Held] = field(factory=dict)


@define(eq=False)
class ShardState:
    """A shard that has jobs without an outcome.

    Attributes:
        number: Its own, in the run.
        jobs: All its jobs, as the driver has packed them.
        open: The places of the jobs without an outcome, counted from the shard's first.
        occurrences: How many jobs before it in the batch were the same, of each job that has asked, by its place.
        attempts: How many there were.
        attempt: The one that may change anything.
    """

    number: int
    jobs: bytes
    open: set[int]
    occurrences: dict[int, int] = field(factory=dict)
    attempts: int = 0
    attempt: Attempt | None = None


class Shards:
    """The shards that are under way, and the attempts at them."""

    def __init__(self) -> None:
        self._shards: dict[int, ShardState] = {}
        self._attempts: dict[int, Attempt] = {}
        self._numbers = itertools.count(1)
        self._seen = Fingerprints()
        self._seen_again: Counter[int] = Counter()

    def add(self, number: int, count: int, jobs: bytes) -> None:
        """Take note of a shard with so many jobs."""
        self._shards[number] = ShardState(number, jobs, set(range(count)))

    def forget(self, number: int) -> None:
        """Forget a shard: whoever is sent to it from now on has nothing to do."""
        self._shards.pop(number, None)

    def attempt_at(self, number: int) -> Attempt | None:
        """Return the attempt at a shard that has not ended."""
        shard = self._shards.get(number)
        return None if shard is None else shard.attempt

    def begin(self, number: int, owner: object) -> Attempt | None:
        """Begin an attempt; the one before it was ended. ``None``: there is nothing left to do."""
        shard = self._shards.get(number)
        if shard is None or not shard.open:
            return None
        shard.attempts += 1
        attempt = Attempt(next(self._numbers), shard.attempts, owner, shard)
        shard.attempt = self._attempts[attempt.number] = attempt
        return attempt

    def end(self, attempt: Attempt) -> None:
        """End an attempt: it may not change anything from now on."""
        self._attempts.pop(attempt.number, None)
        if attempt.shard.attempt is attempt:
            attempt.shard.attempt = None

    def attempt(self, number: int, owner: object) -> Attempt:
        """Return a worker's attempt.

        Raises:
            ClusterError: It has ended: the worker was given up.
        """
        attempt = self._attempts.get(number)
        if attempt is None or attempt.owner is not owner:
            raise ClusterError("this worker was given up, and its jobs went to another")
        return attempt

    def of(self, owner: object) -> Iterable[Attempt]:
        """Return a worker's attempts."""
        return [attempt for attempt in self._attempts.values() if attempt.owner is owner]

    def occurrence(self, attempt: Attempt, place: int, mark: bytes) -> int:
        """Return how many jobs of the batch that are the same have asked before this one.

        A job that asks again, because its shard is gone through again, is told the same again.
        """
        known = attempt.shard.occurrences
        if place not in known:
            known[place] = self._count(int.from_bytes(mark, "big"))
        return known[place]

    def _count(self, mark: int) -> int:
        """Return how often a mark was counted before. Most are counted once, and there may be millions."""
        if self._seen.add(mark):
            return 0
        self._seen_again[mark] += 1
        return self._seen_again[mark]

    def ended(self, attempt: Attempt, place: int) -> bool:
        """Note that a job has its outcome; ``False``: it had one."""
        if place not in attempt.shard.open:
            return False
        attempt.shard.open.discard(place)
        return True
