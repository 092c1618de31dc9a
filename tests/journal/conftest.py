"""Records, a journal in a folder of its own, and a service whose paid tasks are counted by what they were made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from facewarp_async.client import FaceSwapClient
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.models import ImageSwap, Job, TaskKind
from facewarp_async.pipeline import BatchReport, SwapPipeline
from facewarp_async.server import InstantRunner, LocalService, Work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may lie."""
    return tmp_path / "batch.db"


def _make_record(number: int = 0, **changes: Any) -> JobRecord:
    record = JobRecord(key=number.to_bytes(32, "big"), kind=TaskKind.IMAGE_SWAP, media=f"{number}.png")
    for name, value in changes.items():
        setattr(record, name, value)
    return record


@pytest.fixture
def make_record() -> Callable[..., JobRecord]:
    """Make a record that differs by its number."""
    return _make_record


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    """A journal, open."""
    async with Journal(path, realm="realm") as journal:
        yield journal


@define
class World:
    """A service, a client of it, and media; batches of it can be run again and again.

    Attributes:
        work: Each task that was worked on, by its kind and its media's content. Each was paid for.
    """

    folder: Path
    service: LocalService
    client: FaceSwapClient
    work: list[tuple[TaskKind, bytes]] = field(factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        return self.out / "batch.db"

    def media(self, name: int | str) -> Path:
        """Return a picture whose content is its name's alone."""
        path = self.folder / "media" / f"{name}.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + str(name).encode() * 300)
        return path

    @property
    def face(self) -> Path:
        return self.media("the face")

    def jobs(self, count: int) -> list[Job]:
        return [ImageSwap(self.media(number), self.face) for number in range(count)]

    def pipeline(self, **options: Any) -> SwapPipeline:
        options.setdefault("client", self.client)
        options.setdefault("journal", self.journal)
        options.setdefault("output_dir", self.out)
        return SwapPipeline(options.pop("client"), **options)

    async def run(self, jobs: list[Job], **options: Any) -> BatchReport:
        async with self.pipeline(**options) as pipeline:
            return await pipeline.collect(jobs)

    async def records(self) -> list[JobRecord]:
        async with Journal(self.journal, realm="any") as journal:
            return await journal.records()

    async def states(self) -> Counter[JobState]:
        return Counter(record.state for record in await self.records())

    async def paid(self) -> Counter[tuple[TaskKind, bytes]]:
        """Count the tasks of each kind and media."""
        await self.service.settled()
        return Counter(self.work)

    @property
    def created(self) -> int:
        return len(self.service.ledger.creations)

    def results(self) -> dict[str, bytes]:
        """Return all files in the output folder but the journal's."""
        return {
            path.relative_to(self.out).as_posix(): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and not path.name.startswith(self.journal.name)
        }


StartWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def start_world(tmp_path: Path, make_client: Callable[..., FaceSwapClient]) -> StartWorld:
    """Start a service and a client; options are the service's, ``duration_s``, and ``client`` for the client's."""

    @asynccontextmanager
    async def start(*, folder: Path = tmp_path, **options: Any) -> AsyncIterator[World]:
        work: list[tuple[TaskKind, bytes]] = []

        def note(task: Work) -> None:
            work.append((task.kind, task.media.read_bytes()))
            if fail is not None:
                fail(task)

        fail = options.pop("fail", None)
        client_options = options.pop("client", {})
        runner = InstantRunner(duration_s=options.pop("duration_s", 0.0), fail=note)
        async with (
            LocalService(runner=runner, **options) as service,
            make_client(service.provider, service.auth, **client_options) as client,
        ):
            yield World(folder, service, client, work)

    return start


@pytest.fixture
async def world(start_world: StartWorld) -> AsyncIterator[World]:
    """A service without limits or faults, and a client of it."""
    async with start_world() as world:
        yield world
