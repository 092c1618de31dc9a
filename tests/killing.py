"""What the programs that kill batches share: the moment, the end, and the long run over many seeds."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, Self, TypeVar

import anyio
import anyio.abc

from facewarp_async.server import Fault, FaultPlan, FaultRule


class Figures(Protocol):
    """What became of batches."""

    def add(self, other: Self) -> None: ...


F = TypeVar("F", bound=Figures)


def heard(call: str | frozenset[str], faults: FaultPlan, *, number: int = 1) -> anyio.Event:
    """Return an event that is set when a service hears a call for the so-manieth time from now."""
    event, left = anyio.Event(), number

    def hear(_target: str) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            event.set()
        return False

    faults.add(FaultRule(Fault.RESET_BEFORE, call, matching=hear))
    return event


async def first_of(event: anyio.Event, process: anyio.abc.Process) -> None:
    """Wait for an event, or for the end of a program that will not bring it about."""
    async with anyio.create_task_group() as group:

        async def end() -> None:
            await process.wait()
            group.cancel_scope.cancel()

        group.start_soon(end)
        await event.wait()
        group.cancel_scope.cancel()


def long_run_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for the options of `long_run`."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no further seed is begun")
    parser.add_argument("--first-seed", type=int, default=1)
    return parser


async def long_run(options: argparse.Namespace, total: F, kill: Callable[[Path, int], Awaitable[F]]) -> F:
    """Kill one batch for each seed, in a folder of its own, and add up what became of them."""
    ends_at = time.monotonic() + options.minutes * 60
    for seed in itertools.count(options.first_seed):
        with tempfile.TemporaryDirectory() as folder:
            figures = await kill(Path(folder), seed)
        print(f"seed {seed}: {figures}", flush=True)
        total.add(figures)
        if time.monotonic() >= ends_at:
            break
    print(f"in all: {total}")
    return total
