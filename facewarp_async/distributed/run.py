"""The coordinator's part in a batch: the one journal, the cap, and who may do what. Knows nothing of Dask."""

from __future__ import annotations

import asyncio
import time

from facewarp_async.distributed.flights import Flights
from facewarp_async.distributed.shards import Attempt, Held, Shards, ShardState
from facewarp_async.distributed.slots import TaskSlots
from facewarp_async.distributed.values import RunSettings
from facewarp_async.errors import ClusterError
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.models import Asset, TaskKind
from facewarp_async.spending import SpendingLimit

_WITH_TASK = {JobState.INTENT, JobState.CREATED}
"""States in which a task may be under way that is paid for."""


class Run:
    """What all workers of a batch share.

    Each method that changes something is told by which attempt, and refuses one that has ended: a worker that was given
    up creates no task and changes no record, however late it wakes.

    Args:
        settings: What the batch is run with.
        journal: Open.
    """

    def __init__(self, settings: RunSettings, journal: Journal) -> None:
        self.settings = settings
        self.shards: Shards = Shards()
        most = settings.client.most_tasks
        self.spending: SpendingLimit | None = None if most is None else SpendingLimit(most)
        self._journal = journal
        self._slots = TaskSlots(settings.limits.in_flight)
        self._flights = Flights()
        self._claims: dict[bytes, Attempt] = {}
        self._freed: dict[bytes, asyncio.Event] = {}

    async def recall_tasks(self) -> None:
        """Have the cap know of tasks that earlier runs may have left under way."""
        now = time.time()
        for key, kind, updated_at in await self._journal.with_tasks():
            self._slots.keep(key, updated_at + self._longest_s(kind) - now)

    def _longest_s(self, kind: TaskKind) -> float:
        timeouts = self.settings.client.timeouts
        return timeouts.video_task_s if kind.is_video else timeouts.image_task_s

    def begin(self, number: int, owner: object) -> Attempt | None:
        """Give a shard to a worker; whoever had it before may not go on. ``None``: there is nothing left to do."""
        before = self.shards.attempt_at(number)
        if before is not None:
            self.end(before)
        return self.shards.begin(number, owner)

    def end(self, attempt: Attempt) -> None:
        """Take what an attempt has from it. A place of the cap stays taken where a task may be under way."""
        self.shards.end(attempt)
        for key in list(attempt.held):
            held = attempt.held[key]
            if held.state in _WITH_TASK and key in self._slots:
                self._slots.keep(key, self._longest_s(held.kind))
            else:
                self._slots.free(key)
            self.release(attempt, key)

    def creates_of(self, owner: object) -> int:
        """Return how many creates of a worker's may be on their way, and have no answer yet."""
        held = (held for attempt in self.shards.of(owner) for held in attempt.held.values())
        return sum(each.state is JobState.INTENT for each in held)

    def end_all(self, owner: object) -> None:
        """Take what a worker has from it."""
        for attempt in self.shards.of(owner):
            self.end(attempt)
        self._flights.end_all(owner)

    async def recall(self, attempt: Attempt, key: bytes, kind: TaskKind, media: str) -> JobRecord:
        """Return what is known of a job, for an attempt that works on it alone from now on."""
        await self._until_free(key)
        self.shards.attempt(attempt.number, attempt.owner)  # it may have ended meanwhile
        return await self._claim(attempt, key, kind, media)

    async def _until_free(self, key: bytes) -> None:
        while key in self._claims:
            await self._freed.setdefault(key, asyncio.Event()).wait()

    async def _claim(self, attempt: Attempt, key: bytes, kind: TaskKind, media: str) -> JobRecord:
        self._claims[key] = attempt
        attempt.held[key] = held = Held(JobState.NEW, kind)
        record = await self._journal.recall(key, kind, media)
        held.state, held.kind = record.state, record.kind
        return record

    def release(self, attempt: Attempt, key: bytes) -> None:
        """Let another attempt work on a job."""
        attempt.held.pop(key, None)
        if self._claims.get(key) is attempt:
            del self._claims[key]
            if (freed := self._freed.pop(key, None)) is not None:
                freed.set()

    async def write(self, attempt: Attempt, record: JobRecord) -> None:
        """Write a record down.

        Raises:
            ClusterError: Another attempt works on the job.
        """
        owner = self._claims.get(record.key, attempt)  # what tells of a job by its name alone is nobody's
        if owner is not attempt:
            raise ClusterError("another worker works on this job")
        if record.key in attempt.held:
            attempt.held[record.key] = Held(record.state, record.kind)
        await self._journal.write(record)

    async def write_late(self, record: JobRecord) -> bool:
        """Write down what became of a create of a worker that was given up, if the job is still in doubt about it.

        Returns:
            Whether it is in the journal now.
        """
        late = Attempt(0, 0, self, ShardState(0, b"", set()))
        await self._until_free(record.key)
        known = await self._claim(late, record.key, record.kind, record.media)
        try:
            more = set(record.tasks) - set(known.tasks)
            is_it = known.state is JobState.INTENT and more in ({known.pending}, set())
            if is_it:
                await self._journal.write(record)
            return is_it
        finally:
            self.release(late, record.key)

    def post(self, record: JobRecord) -> None:
        """Write a record down without waiting for it."""
        self._journal.post(record)

    async def take_slot(self, attempt: Attempt, key: bytes) -> None:
        """Wait for a place for the job's task."""
        if key not in attempt.held:
            raise ClusterError("another worker works on this job")
        await self._slots.take(key)

    def free_slot(self, attempt: Attempt, key: bytes, *, has_ended: bool) -> None:
        """Give a place back, unless the task may be under way and nobody waits for it any more."""
        held = attempt.held.get(key)
        if held is None:
            return
        if has_ended or held.state not in _WITH_TASK:
            self._slots.free(key)
        else:
            self._slots.keep(key, self._longest_s(held.kind))

    async def asset(self, content: bytes) -> Asset | None:
        """Return the asset of a content, where it was uploaded lately."""
        return await self._journal.get(content)

    async def begin_upload(self, content: bytes, owner: object) -> Asset | None:
        """Wait while another worker uploads a content; return its asset, or ``None``: the caller is to upload it."""
        while (asset := await self._journal.get(content)) is None:
            if await self._flights.begin(content, owner):
                asset = await self._journal.get(content)  # it may have come while this was asked
                if asset is not None:
                    self._flights.end(content, owner)
                break
        return asset

    def end_upload(self, content: bytes, owner: object) -> None:
        """Note that an upload has ended, well or not."""
        self._flights.end(content, owner)

    async def put(self, content: bytes, asset: Asset) -> None:
        """Remember an upload."""
        await self._journal.put(content, asset)

    async def drop(self, content: bytes, asset: Asset) -> None:
        """Forget an upload, unless another has taken its place."""
        await self._journal.drop(content, asset)

    def close(self) -> None:
        """End what waits for its time."""
        self._slots.close()
