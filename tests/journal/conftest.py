"""Records, a journal in a folder of its own, and a service whose paid tasks are counted by what they were made of."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field
from blockbuster import BlockBuster

from facewarp_async.client import FaceSwapClient
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.models import ImageSwap, Job, TaskKind
from facewarp_async.pipeline import BatchReport, SwapPipeline
from facewarp_async.server import Fault, FaultPlan, FaultRule, InstantRunner, LocalService, Work
from facewarp_async.server.faults import Hit


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
    out_name: str = "out"

    @property
    def out(self) -> Path:
        return self.folder / self.out_name

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

    def calls(self) -> dict[str, int]:
        """Count the calls of each kind that there were so far."""
        return dict(self.service.ledger.calls)

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


class Point(Enum):
    """Where a run may end."""

    CALL = "as the service hears a call"
    ACTED = "as the service has heard a call that it acts on, and the answer is lost"
    WRITE = "before a change is written down"
    WRITTEN = "when a change was written down"
    EVENT = "when a step was told of"


class Ending(FaultPlan):
    """Ends a run at the n-th point of a kind, by a crash or by cancelling it; also plays faults, as any plan.

    At a crash the output folder and the journal are copied as they are at that moment, the service hears nothing more,
    and what the run does from then on is lost: the next one goes on with the copies.
    """

    def __init__(self, guard: BlockBuster) -> None:
        super().__init__()
        self._guard = guard
        self._dead = FaultRule(Fault.RESET_BEFORE)
        self._lost = FaultRule(Fault.RESET_AFTER)
        self._copies = 0
        self._disarm()

    def _disarm(self) -> None:
        self._point: Point | None = None
        self._call: str | None = None
        self._left = 0
        self._crashes = self.is_dead = self.has_ended = False
        self._scope: anyio.CancelScope | None = None
        self._world: World | None = None

    def draw(self, call: str, target: str) -> Hit | None:
        if self.is_dead:
            return Hit(Fault.RESET_BEFORE, self._dead)
        is_meant = self._call is None or call == self._call
        if is_meant and self._pass(Point.ACTED):
            return Hit(Fault.RESET_AFTER, self._lost) if self._crashes else None
        if is_meant and self._pass(Point.CALL) and self._crashes:
            return Hit(Fault.RESET_BEFORE, self._dead)
        return super().draw(call, target)

    def _pass(self, point: Point) -> bool:
        """Pass a point; end the run there if that is due."""
        if self.has_ended or point is not self._point:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self.has_ended = True
        if self._crashes:
            self.is_dead = True
            self._copy()
        assert self._scope is not None
        self._scope.cancel()
        return True

    def _copy(self) -> None:
        assert self._world is not None
        self._guard.deactivate()
        try:
            self._copies += 1
            copy = self._world.folder / f"copy-{self._copies}"
            for path in sorted(self._world.out.rglob("*")):
                with suppress(FileNotFoundError):  # renamed by a thread just now
                    if path.is_file():
                        target = copy / path.relative_to(self._world.out)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, target)
            copy.mkdir(exist_ok=True)
        finally:
            self._guard.activate()

    async def run(
        self,
        world: World,
        jobs: list[Job],
        point: Point,
        number: int,
        *,
        crash: bool,
        call: str | None = None,
        **options: Any,
    ) -> BatchReport | None:
        """Run jobs until the point, of this call or of any; return the report if they were done before."""
        self._point, self._left, self._crashes, self._world, self._call = point, number, crash, world, call
        self._scope = anyio.CancelScope()
        report: BatchReport | None = None
        written = Journal.write

        async def write(journal: Journal, record: JobRecord) -> None:
            self._pass(Point.WRITE)
            await written(journal, record)
            self._pass(Point.WRITTEN)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "write", write)
            with self._scope:
                report = await world.run(jobs, on_event=lambda _event: self._pass(Point.EVENT) and None, **options)
        if self.is_dead:
            world.out_name = f"copy-{self._copies}"
        self._disarm()
        return report


@pytest.fixture
def ending(blockbuster: BlockBuster) -> Ending:
    """The faults of a service that ends runs where a test wants it."""
    return Ending(blockbuster)


@pytest.fixture
def points() -> type[Point]:
    """Where runs may end."""
    return Point


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
