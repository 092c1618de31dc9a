"""Batches on a clock that jumps: the real pacer and policy against a model of the service, hours in a second.

Nothing waits and nothing is sent: the loop's clock goes to the next timer at once. So a change can be judged over many
seeds, whatever else the machine does. Modelled are the pipeline's workers, its upload and task slots, one shared face
and calls that take about 0.13 s; of the service its sliding window, its workers, its drift, errors and outage. What is
left out: the CPU that calls take.

"clairvoyant" is the same pipeline and pacer, told when each task is done: what remains of its distance to the bound, no
polling can save. The other designs, and what is said of the time that is left, are those of the `pace` benchmark. "At
best" is the error of one time that somebody tells who knows all of the service, and which tasks have ended, but not
what the others will take.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import evolve, frozen

from benchmarks.jumping_clock import clock, run_on_jumping_clock
from benchmarks.pace_foresight import MOMENTS, Foresight, best_error, foresight
from benchmarks.pace_plain import PLAIN, Polling
from benchmarks.pace_regimes import (
    LIMITS,
    SETS,
    TYPICAL_IMAGE_S,
    TYPICAL_VIDEO_S,
    Durations,
    Regime,
    bound,
    kinds_of,
)
from benchmarks.pace_service import Service, Task
from facewarp_async.config import Provider
from facewarp_async.models import TaskKind
from facewarp_async.pipeline.slots import UploadSlots
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import TimeLeft
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.remaining import Remaining
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.session.pacer import Pacer

UP_S, DOWN_S, TRANSFER_S = 0.03, 0.1, 0.1
"""The way of a call to the service, its work and the way back, and that of a file; times a random factor."""


class Model:
    """A batch of one design at the service.

    Args:
        service: Where.
        kinds: What each job makes.
        seed: Of all that is random on the way.
    """

    def __init__(self, service: Service, kinds: Sequence[TaskKind], seed: int) -> None:
        self.service, self.kinds = service, kinds
        self.noticed_after: list[float] = []
        self.told: list[tuple[float, TimeLeft]] = []
        self._noise = random.Random(f"noise {seed}")

    async def travel(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._noise.lognormvariate(0, 0.3))

    async def send(self, act: Callable[[], Any], *, creates: bool = False) -> tuple[str, Any]:
        await self.travel(UP_S)
        answer = self.service.answer(creates=creates)
        made = act() if answer == "done" else None
        await self.travel(DOWN_S)
        return answer, made

    def notice(self, task: Task) -> None:
        self.noticed_after.append(clock() - task.done_at)


class PacedModel(Model):
    """The pipeline, with the real pacer and policy.

    Args:
        service: Where.
        kinds: What each job makes.
        seed: Of all that is random on the way.
        clairvoyant: Whether looks are made as soon as tasks are done.
    """

    def __init__(
        self,
        service: Service,
        kinds: Sequence[TaskKind],
        seed: int,
        *,
        clairvoyant: bool = False,
    ) -> None:
        super().__init__(service, kinds, seed)
        provider = Provider(
            "model",
            "http://model",
            requests_per_second=service.regime.rate,
            typical_image_s=TYPICAL_IMAGE_S,
            typical_video_s=TYPICAL_VIDEO_S,
        )
        self._policy = LearntPolling.for_provider(provider)
        self._pacer = Pacer(service.regime.rate, self._policy)
        self._clairvoyant = clairvoyant
        self._uploads, self._places = UploadSlots(LIMITS.uploads), asyncio.Semaphore(LIMITS.in_flight)
        self._face, self._retry = asyncio.Event(), RetryPolicy()
        self._remaining = Remaining(
            len(kinds),
            rate=service.regime.rate,
            foresee=lambda upcoming, over_s: self._policy.work_left(clock(), upcoming, over_s),
        )
        self._to_read: Iterator[int] = iter(range(len(kinds)))
        regime = evolve(service.regime, factor=1.0)
        draw = Durations(regime, len(kinds), seed)
        self._every_s = bound(regime, [draw(kind) for kind in kinds]).makespan_s / MOMENTS
        self._begun = self._ended = 0
        self._is_exhausted = False

    async def run(self) -> None:
        workers = LIMITS.uploads + LIMITS.in_flight + LIMITS.downloads
        with self._pacer.counting(self._left):
            looking = asyncio.create_task(self._look_ahead())
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(self.kinds) + 1)):
                    group.create_task(self._work())
            looking.cancel()

    def _left(self) -> float:
        return self._begun - self._ended if self._is_exhausted else math.inf

    async def _look_ahead(self) -> None:
        """Ask for the time that is left again and again, as the progress bar does."""
        while True:
            await asyncio.sleep(self._every_s)
            if left := self._remaining.left(clock()):
                self.told.append((clock(), left))

    async def _work(self) -> None:
        for index in self._to_read:
            self._begun += 1
            await self._job(index, self.kinds[index])
            self._remaining.ended(index, clock())
            self._ended += 1
        self._is_exhausted = True

    async def _job(self, index: int, kind: TaskKind) -> None:
        self._remaining.begun(clock())
        self._remaining.expected(index, kind)
        if index == 0:
            await self._upload(kind)
            self._face.set()
        await self._face.wait()
        await self._upload(kind)
        self._remaining.uploaded(clock())
        async with self._places:
            _, task = await self._call(Priority.CREATE, lambda: self.service.create(kind), creates=True)
            self._remaining.created(index, clock())
            await (self._foresee(task) if self._clairvoyant else self._watch(task, kind))
            self.notice(task)
        await self.travel(TRANSFER_S)

    async def _upload(self, kind: TaskKind) -> None:
        async with self._uploads.of(kind):
            await self._call(Priority.UPLOAD, lambda: None)
            await self.travel(TRANSFER_S)

    async def _call(
        self, priority: Priority | None, act: Callable[[], Any], *, creates: bool = False
    ) -> tuple[float, Any]:
        """Return when the call left that was answered, and what it made."""
        failures = 0
        while True:
            if priority is not None:
                await self._pacer.acquire(priority)
            asked_at = clock()
            answer, made = await self.send(act, creates=creates)
            if answer == "refused":
                self._pacer.refused(None)
            else:
                self._pacer.accepted()
            if answer == "done":
                return asked_at, made
            if answer == "failed":
                failures += 1
                await asyncio.sleep(self._retry.delay_s(failures, jitter=self._noise.random()) or 20)
            priority = Priority.REPEAT

    async def _watch(self, task: Task, kind: TaskKind) -> None:
        with self._pacer.watching(kind, is_fresh=True, deadline=math.inf) as watched:
            is_done = False
            while not is_done and await self._pacer.look_turn(watched):
                asked_at, is_done = await self._call(None, lambda: task.done_at <= clock())
                self._pacer.looked(watched, asked_at, done=is_done)

    async def _foresee(self, task: Task) -> None:
        await task.done.wait()
        await self._call(Priority.POLL, lambda: None)


class PlainModel(Model):
    """A design that users write themselves.

    Args:
        service: Where.
        kinds: What each job makes.
        seed: Of all that is random on the way.
        polling: How it looks at tasks.
    """

    def __init__(self, service: Service, kinds: Sequence[TaskKind], seed: int, polling: Polling) -> None:
        super().__init__(service, kinds, seed)
        self._polling = polling
        self._gap_s = 1.03 / service.regime.rate if service.regime.rate and polling.has_limiter else 0.0
        self._free_at = 0.0
        self._waiting = asyncio.Semaphore(polling.at_once)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in self.kinds:
                group.create_task(self._job(kind))

    async def _call(self, act: Callable[[], Any], *, creates: bool = False) -> Any:
        wait_s = 1.0
        while True:
            self._free_at = max(clock(), self._free_at + self._gap_s)
            await asyncio.sleep(self._free_at - clock())
            answer, made = await self.send(act, creates=creates)
            if answer == "done":
                return made
            await asyncio.sleep(self._noise.random() * wait_s)
            wait_s = min(2 * wait_s, 30.0)

    async def _job(self, kind: TaskKind) -> None:
        async with self._waiting:
            for _ in ("media", "face"):
                await self._call(lambda: None)
                await self.travel(TRANSFER_S)
            task = await self._call(lambda: self.service.create(kind), creates=True)
            wait_s = self._polling.first_s
            await asyncio.sleep(wait_s)
            while not await self._call(lambda: task.done_at <= clock()):
                wait_s = min(wait_s * self._polling.factor, self._polling.longest_s)
                await asyncio.sleep(wait_s)
            self.notice(task)
            await self.travel(TRANSFER_S)


MakeModel = Callable[[Service, Sequence[TaskKind], int], "PacedModel | PlainModel"]


def _plain(polling: Polling) -> MakeModel:
    return lambda service, kinds, seed: PlainModel(service, kinds, seed, polling)


DESIGNS: dict[str, MakeModel] = {
    "facewarp": PacedModel,
    "clairvoyant": lambda service, kinds, seed: PacedModel(service, kinds, seed, clairvoyant=True),
    **{name: _plain(polling) for name, polling in PLAIN.items()},
}


@frozen(kw_only=True)
class Outcome:
    """What a batch has cost, as multiples of what is possible where nothing else is said."""

    makespan_s: float
    makespan: float
    calls: float
    noticed_s: float
    refused: float
    foreseen: Foresight | None


def simulate(regime: Regime, design: str, *, jobs: int, seed: int, order: str = "first") -> Outcome:
    """Run one batch."""
    service = Service(regime, jobs, seed, order)
    made, ended = list[Model](), list[float]()
    random.seed(seed)  # the pacer's jitter

    async def main() -> None:
        model = DESIGNS[design](service, kinds_of(regime, jobs, seed), seed)
        await model.run()
        made.append(model)
        ended.append(clock())

    run_on_jumping_clock(main())
    least = bound(evolve(regime, factor=1.0), service.took)
    return Outcome(
        makespan_s=ended[0],
        makespan=ended[0] / least.makespan_s,
        calls=service.calls / least.calls,
        noticed_s=statistics.mean(made[0].noticed_after),
        refused=service.refusals / service.calls,
        foreseen=None if design == "clairvoyant" else foresight(made[0].told, 0.0, ended[0]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000], help="sizes of batches")
    parser.add_argument("--rounds", type=int, default=4, help="how many batches of each, with other durations")
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=["facewarp", "clairvoyant"])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="which services")
    parser.add_argument("--regimes", nargs="+", metavar="NAME", help="only those whose names begin like this")
    parser.add_argument("--order", choices=["first", "random", "last"], default="first", help="of the service's tasks")
    options = parser.parse_args()
    head = ["calls, jobs", "number", "design", "makespan / bound", "calls / bound", "noticed after, s", "refused"]
    print(f"| {' | '.join([*head, 'time left off by', 'good', 'width', 'at best'])} |")
    print(f"|{' --- |' * 11}")
    for jobs in options.jobs:
        for regime in [regime for name in options.sets for regime in SETS[name]]:
            if options.regimes is not None and not regime.name.startswith(tuple(options.regimes)):
                continue
            best = statistics.mean(best_error(regime, jobs, seed) for seed in range(options.rounds))
            for design in options.designs:
                runs = [
                    simulate(regime, design, jobs=jobs, seed=seed, order=options.order)
                    for seed in range(options.rounds)
                ]
                print(_row(regime, jobs, design, runs, best), flush=True)


def _row(regime: Regime, jobs: int, design: str, runs: Sequence[Outcome], best: float) -> str:
    def mean(name: str) -> float:
        return float(statistics.mean(getattr(run, name) for run in runs))

    told = [run.foreseen for run in runs if run.foreseen is not None]
    foreseen = "- | - | - | -"
    if told:
        error, good = (100 * statistics.mean(getattr(each, name) for each in told) for name in ("error", "good"))
        width = statistics.mean(each.width for each in told)
        foreseen = f"{error:.0f} % | {good:.0f} % | {width:.1f} | {100 * best:.0f} %"
    figures = f"{mean('makespan'):.3f} | {mean('calls'):.3f} | {mean('noticed_s'):.1f} | {100 * mean('refused'):.1f} %"
    return f"| {regime.name}, {regime.workers} workers | {jobs} | {design} | {figures} | {foreseen} |"


if __name__ == "__main__":
    main()
