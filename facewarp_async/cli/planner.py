"""``facewarp batch --dry-run``: what a batch would send, create and pay for. No call is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import Factory, frozen

from facewarp_async.checking import CheckedJob, check_job
from facewarp_async.cli.arguments import exists
from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.plan import Plan
from facewarp_async.cli.provider import Embedded, Remote
from facewarp_async.cli.resuming import journal_path, service_path
from facewarp_async.cli.selection import BatchJobs
from facewarp_async.errors import FaceWarpError, JournalError
from facewarp_async.files import AnyMedia
from facewarp_async.journal import InDoubtChoice, JobRecord, JobState, Journal
from facewarp_async.models import Asset, Job, MultiFaceSwap
from facewarp_async.pipeline.memory import Counted, Memory
from facewarp_async.pipeline.results import path_in
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location


@frozen(kw_only=True)
class Planner:
    """Makes plans.

    Attributes:
        out: Where results go.
        in_doubt: What to do about creates that were lost sight of.
        retry_failed: Whether jobs that have failed are tried again.
        most_tasks: How many tasks may be created.
        state: Where earlier runs are remembered; ``None``: they do not count.
    """

    out: Location
    in_doubt: InDoubtChoice
    retry_failed: bool
    most_tasks: int | None
    state: Path | None

    async def plan(self, jobs: BatchJobs, service: Remote | Embedded) -> Plan:
        """Look at each file, and at what is remembered of it.

        Raises:
            UsageError: The journal cannot be used.
        """
        is_local = isinstance(service, Embedded)
        rate = service.requests_per_second if isinstance(service, Embedded) else service.provider.requests_per_second
        plan = Plan(rate, is_local, self.most_tasks)
        try:
            async with self._earlier(service) as earlier:
                async for job in jobs:
                    await self._add(plan, job, earlier)
        except JournalError as error:
            raise UsageError(str(error)) from error
        return plan

    async def _add(self, plan: Plan, job: Job, earlier: _Earlier) -> None:
        plan.files += 1
        try:
            checked = await check_job(job)
            record = await earlier.record(job, checked)
            tasks = await self._tasks(plan, record, 2 if isinstance(job, MultiFaceSwap) else 1)
            if tasks:
                plan.tasks += tasks
                for file in await earlier.to_upload(checked):
                    plan.contents += 1
                    plan.upload_bytes += file.size
        except JournalError:
            raise
        except FaceWarpError as error:
            plan.unusable.append(str(error))

    async def _tasks(self, plan: Plan, record: JobRecord | None, needed: int) -> int:
        """Return how many tasks are left to be created for a job; count it where there are none."""
        if record is None:
            return needed
        if record.state is JobState.FAILED:
            plan.failed_before += not self.retry_failed
            return needed if self.retry_failed else 0
        if record.state is JobState.DONE and record.path and await exists(path_in(self.out, record.path)):
            plan.done_before += 1
            return 0
        if record.pending is not None and self.in_doubt == "hold":
            plan.in_doubt += 1
            return 0
        plan.waiting += len(record.tasks) >= needed
        return max(needed - len(record.tasks), 0)

    @asynccontextmanager
    async def _earlier(self, service: Remote | Embedded) -> AsyncIterator[_Earlier]:
        path = None if self.state is None else journal_path(self.state)
        realm = await self._realm(service) if path is not None and await exists(path) else None
        if path is None or realm is None:
            yield _Earlier(SharedUploads(_upload_nothing))
            return
        async with Journal(path, realm=realm) as journal:
            uploads = SharedUploads(_upload_nothing)
            memory = Memory(
                journal,
                uploads,
                realm=realm,
                output_dir=self.out,
                in_doubt=self.in_doubt,
                retry_failed=self.retry_failed,
            )
            yield _Earlier(uploads, journal, memory)

    async def _realm(self, service: Remote | Embedded) -> str | None:
        """Return whose tasks a service's are; ``None`` for one that has not been there yet."""
        if isinstance(service, Remote):
            return service.provider.realm or service.provider.base_url
        assert self.state is not None
        folder = service_path(self.state)
        if not await exists(folder / "service.db"):
            return None
        # Not above: a command that speaks to a vendor has no use for it.
        from facewarp_async.server.state import State  # noqa: PLC0415

        state = await State.open(folder)
        try:
            return await state.setting("realm")
        finally:
            await state.close()


@frozen
class _Earlier:
    """What is known of earlier runs, and which contents were counted."""

    uploads: SharedUploads
    journal: Journal | None = None
    memory: Memory | None = None
    seen: Counted = Factory(Counted)
    contents: set[bytes] = Factory(set)

    async def record(self, job: Job, checked: CheckedJob) -> JobRecord | None:
        if self.memory is None:
            return None
        async with self.memory.recall(job, checked, self.seen) as log:
            return log.record

    async def to_upload(self, checked: CheckedJob) -> list[AnyMedia]:
        """Return the files of a job that the service does not have, nor would have from a job before it."""
        found = []
        for file in (checked.media, *checked.faces):
            if isinstance(file, Asset):
                continue
            content = await self.uploads.content(file)
            if content not in self.contents and (self.journal is None or await self.journal.get(content) is None):
                found.append(file)
            self.contents.add(content)
        return found


async def _upload_nothing(_file: AnyMedia) -> Asset:
    raise AssertionError("a plan sends nothing")
