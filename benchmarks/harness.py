"""What the benchmarks share: processes that are measured, rounds of contestants, ratios with their spread."""

from __future__ import annotations

import asyncio
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, field, frozen

ROOT = Path(__file__).parents[1]


@frozen(kw_only=True)
class Cost:
    """What one run took.

    Attributes:
        wall_s: Seconds.
        cpu_s: Seconds of CPU, all threads of the process, its children not.
        grown_mib: By how much its memory peaked above what it had at the beginning.
        lag_ms: The longest time that its event loop was held up; 0 where that was not looked at.
        work_ms: The most CPU that the loop's thread took in such a time: what others on the machine cannot add to.
    """

    wall_s: float
    cpu_s: float
    grown_mib: float = 0.0
    lag_ms: float = 0.0
    work_ms: float = 0.0

    @classmethod
    def told(cls, line: str) -> Self:
        """Read what `Meter.tell` has printed."""
        return cls(**json.loads(line))


class Meter:
    """Measures a block within a process."""

    def __enter__(self) -> Self:
        _forget_peak()
        self._resident = _memory_kib("VmRSS")
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        wall_s = time.perf_counter() - self._begun
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = usage.ru_utime + usage.ru_stime - self._usage.ru_utime - self._usage.ru_stime
        self.cost = Cost(wall_s=wall_s, cpu_s=cpu_s, grown_mib=(_memory_kib("VmHWM") - self._resident) / 1024)

    def tell(self, **more: float) -> None:
        """Print the cost for the process that compares."""
        cost = self.cost
        told = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "grown_mib": cost.grown_mib}
        print(json.dumps(told | more), flush=True)


def _forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _memory_kib(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class LagWatch:
    """Finds the longest time that an event loop was held up while the block ran, and the most work in such a time."""

    def __init__(self) -> None:
        self.longest_ms = self.most_work_ms = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.002)  # the last turn of the loop may have been the longest
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            begun, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - begun - 0.001) * 1000)
            self.most_work_ms = max(self.most_work_ms, (time.thread_time() - worked) * 1000)


def run_module(
    module: str, *arguments: object, python: str = sys.executable, env: Mapping[str, str] | None = None
) -> str:
    """Run a module of the benchmarks in a process of its own and return the last line that it prints."""
    command = [python, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip().rpartition("\n")[2]


def run_program(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> tuple[str, Cost]:
    """Run a program and return what it printed and what it took, its start included."""
    begun = time.perf_counter()
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    streams["env"] = {**os.environ, **(env or {})}
    with subprocess.Popen([str(part) for part in command], text=True, **streams) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{command[0]} ended with {child.returncode}"
    wall_s = time.perf_counter() - begun
    return printed, Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime)


@define
class Contest:
    """Contestants that take turns, so that what else the machine does meets all of them alike.

    Attributes:
        contestants: By name, what makes one run.
        costs: Theirs, round by round.
    """

    contestants: Mapping[str, Callable[[], Cost]]
    costs: dict[str, list[Cost]] = field(factory=dict)

    def run(self, rounds: int) -> Self:
        """Run rounds; in each, everyone has a turn, and the first of one is the last of the next."""
        names = list(self.contestants)
        for number in range(rounds):
            for name in names if number % 2 else reversed(names):
                self.costs.setdefault(name, []).append(self.contestants[name]())
        return self

    def ratios(self, name: str, base: str, measure: Callable[[Cost], float]) -> list[float]:
        """Compare two contestants within each round."""
        return [measure(mine) / measure(other) for mine, other in zip(self.costs[name], self.costs[base], strict=True)]


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Write the median and the range."""
    given = list(values)
    return f"{statistics.median(given):.{digits}f} ({min(given):.{digits}f}-{max(given):.{digits}f})"


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return between what the median of what was sampled lies with 95 % confidence, whatever the distribution."""
    ordered, reach = sorted(values), 0.98 * math.sqrt(len(values))
    middle = (len(ordered) - 1) / 2
    return ordered[max(0, math.floor(middle - reach))], ordered[min(len(ordered) - 1, math.ceil(middle + reach))]


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows below their columns' names."""
    lines = [list(map(str, columns)), *[list(map(str, row)) for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  " + "  ".join(cells).rstrip())


def verdict(goal: str, *, met: bool) -> None:
    """Print whether a goal is met."""
    print(f"  {'met   ' if met else 'MISSED'}  {goal}")
