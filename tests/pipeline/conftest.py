"""A service, a client that does not dawdle, files to swap, and means to hold what goes on and to wait for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from attrs import define, field

from facewarp_async import (
    FaceSwapClient,
    ImageSwap,
    JobEnded,
    Limits,
    Outcome,
    Stage,
    StageBegun,
    SwapPipeline,
)
from facewarp_async.pipeline import Event
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import Fault, FaultRule, InstantRunner, Ledger, LocalService, Made, Work
from tests.heads import MP4, PNG


class Signal:
    """Lets a test wait until something is so, looking again at each change."""

    def __init__(self) -> None:
        self._changed = anyio.Event()

    def changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not condition():
                await self._changed.wait()


class EventLog:
    """Takes a pipeline's events, and passes them on to whom a test sets."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.also: Callable[[Event], None] = lambda _event: None
        self._signal = Signal()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._signal.changed()
        self.also(event)

    def begun(self, stage: Stage) -> list[int]:
        """The jobs that began a stage, as often as they did."""
        return [event.index for event in self.all if isinstance(event, StageBegun) and event.stage is stage]

    def stages(self, index: int) -> list[Stage]:
        """The stages of a job."""
        return [event.stage for event in self.all if isinstance(event, StageBegun) and event.index == index]

    def ended(self) -> list[int]:
        """The jobs that have their outcome."""
        return [event.index for event in self.all if isinstance(event, JobEnded)]

    async def until(self, condition: Callable[[EventLog], bool]) -> None:
        await self._signal.until(lambda: condition(self))


class HeldRunner(InstantRunner):
    """Works on a task when it is let go; tasks are called by what stands behind the first bytes of their media."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun: list[str] = []
        self.working = self.most_working = 0
        self._free: set[str] | None = set()
        self._signal = Signal()

    def let_go(self, *labels: str) -> None:
        """Let these tasks end, or all without a label."""
        if not labels:
            self._free = None
        elif self._free is not None:
            self._free.update(labels)
        self._signal.changed()

    async def until_begun(self, number: int) -> None:
        await self._signal.until(lambda: len(self.begun) >= number)

    async def run(self, work: Work) -> Made:
        body = await anyio.to_thread.run_sync(work.media.read_bytes)
        label = body[len(MP4 if body.startswith(MP4) else PNG) :].decode()
        self.begun.append(label)
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        self._signal.changed()
        try:
            await self._signal.until(lambda: self._free is None or label in self._free)
        finally:
            self.working -= 1
        return await super().run(work)


class Hold:
    """A rule for a service that keeps calls waiting for longer than any test takes, and tells when one has come."""

    def __init__(self, call: str | frozenset[str], **options: Any) -> None:
        self.arrived = 0
        self._signal = Signal()
        self.rule = FaultRule(Fault.SLOW, call, **{"delay_s": 60.0, **options}, matching=self._note)

    def _note(self, _target: str) -> bool:
        self.arrived += 1
        self._signal.changed()
        return True

    async def until_arrived(self, number: int = 1) -> None:
        await self._signal.until(lambda: self.arrived >= number)


@define
class Bench:
    """A running service with a client.

    Attributes:
        service: The service.
        client: Its client.
        folder: Where the files are made.
        out: The pipelines' output folder.
        events: Told by the pipelines.
    """

    service: LocalService
    client: FaceSwapClient
    folder: Path
    out: Path
    events: EventLog = field(factory=EventLog)

    @property
    def ledger(self) -> Ledger:
        return self.service.ledger

    def file(self, name: str, body: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    def picture(self, label: str, name: str | None = None) -> Path:
        """Make a file that begins as a PNG does."""
        return self.file(name or f"{label}.png", PNG + label.encode())

    def video(self, label: str) -> Path:
        """Make a file that begins as an MP4 does."""
        return self.file(f"{label}.mp4", MP4 + label.encode())

    def swaps(self, number: int) -> list[ImageSwap]:
        """Jobs for pictures of their own that are called by their numbers, all with the same face."""
        face = self.picture("face")
        return [ImageSwap(self.picture(str(index)), face) for index in range(number)]

    def pipeline(self, **options: Any) -> SwapPipeline:
        """Make a pipeline; its limits are given by their names."""
        names = [name for name in ("uploads", "in_flight", "downloads", "read_ahead") if name in options]
        limits = Limits(**{name: options.pop(name) for name in names})
        return SwapPipeline(
            self.client, limits=limits, output_dir=options.pop("output_dir", self.out), on_event=self.events, **options
        )

    async def outcomes(self, jobs: Any, **options: Any) -> list[Outcome]:
        """Run jobs to their end."""
        async with self.pipeline(**options) as pipeline:
            return [outcome async for outcome in pipeline.stream(jobs)]

    async def check_works(self) -> None:
        """Swap once more with the same client, without faults."""
        self.service.faults.clear()
        path = self.folder / "afterwards.png"
        await self.client.download(await self.client.swap_image(self.picture("after"), self.picture("wards")), path)
        assert path.read_bytes() == PNG + b"after"


Serve = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a service with options and a client of it; without a runner among them it swaps nothing, at once."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Bench]:
        options.setdefault("runner", InstantRunner())
        folder = tmp_path / "in"
        folder.mkdir()
        async with LocalService(data_dir=tmp_path / "service", **options) as service:
            client = FaceSwapClient(
                service.provider,
                service.auth,
                retry=RetryPolicy(first_s=0.004, longest_s=0.02),
                poll_policy=FixedPolling(image_s=0.01, video_s=0.01, longest_s=0.05),
            )
            async with client:
                yield Bench(service, client, folder, tmp_path / "out")

    return start


@pytest.fixture
async def bench(serve: Serve) -> AsyncIterator[Bench]:
    """A service without limits and faults that swaps nothing, at once."""
    async with serve() as bench:
        yield bench


@pytest.fixture
def held() -> HeldRunner:
    """A runner whose tasks wait until they are let go."""
    return HeldRunner()


@pytest.fixture
def hold() -> type[Hold]:
    """Makes rules that keep calls waiting."""
    return Hold
