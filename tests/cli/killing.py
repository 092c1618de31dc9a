"""Ends ``facewarp batch`` at random moments until it ends by itself, and looks at what was paid for and what is there.

``python -m tests.cli.killing --minutes 5 --files 300`` is the long run; its exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from attrs import Factory, define, frozen

from facewarp_async.server import EVERYWHERE, FaultPlan, InstantRunner, LocalService, Work, WorkError
from tests.killing import first_of, heard, long_run, long_run_parser

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
_NO_FACE = b"no face"


@define
class Figures:
    """What became of batches.

    Attributes:
        files: How many there were.
        ends: How often the program was ended, by signal.
        tasks: How many tasks were created.
        in_doubt: How many files were named in doubt after the last of the kills.
        recreated: How many of those had a task, and got another when the user risked it.
        slowest_end_s: The longest time from SIGINT or SIGTERM to the end.
        wrong: What should not be: tasks created twice, results missing, files left over, noise.
    """

    files: int = 0
    ends: Counter[str] = Factory(Counter)
    tasks: int = 0
    in_doubt: int = 0
    recreated: int = 0
    slowest_end_s: float = 0.0
    wrong: list[str] = Factory(list)

    def add(self, other: Figures) -> None:
        self.files += other.files
        self.ends += other.ends
        self.tasks += other.tasks
        self.in_doubt += other.in_doubt
        self.recreated += other.recreated
        self.slowest_end_s = max(self.slowest_end_s, other.slowest_end_s)
        self.wrong += other.wrong


@frozen
class Ended:
    """A run of the program: its exit code, its records, and what it said."""

    code: int
    records: list[dict[str, Any]]
    errors: str

    @property
    def in_doubt(self) -> set[str]:
        return {record["media"] for record in self.records if (record["error"] or {}).get("type") == "InDoubtError"}


@define
class Batch:
    """A folder of media, an output folder, and a service that notes the content of each task's media."""

    folder: Path
    service: LocalService
    work: list[bytes]
    random: random.Random
    number: signal.Signals
    most_ends: int
    figures: Figures = Factory(Figures)

    async def run(self, *options: str, is_ended: bool = False) -> Ended:
        """Run the program, to its end or to a random moment of its work."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FACEWARP_")}
        environ["FACEWARP_API_KEY"] = self.service.auth.key
        command = [
            sys.executable, "-m", "facewarp_async", "batch", "in", "--face", "me.png", "-o", "out", "--json",
            "--provider", "local", "--base-url", self.service.provider.base_url, *options,
        ]  # fmt: skip
        told, errors = self.folder / "told.jsonl", self.folder / "errors.txt"
        with told.open("wb") as stdout, errors.open("wb") as stderr:
            moment = self._moment() if is_ended else None
            async with await anyio.open_process(
                command, cwd=self.folder, env=environ, stdout=stdout, stderr=stderr
            ) as process:
                if moment is not None:
                    await first_of(moment, process)
                    await self._end(process)
                code = await process.wait()
        lines = told.read_text().splitlines()
        records = [json.loads(line) for line in lines] if code in {0, 1} else []
        return Ended(code, records, errors.read_text())

    def _moment(self) -> anyio.Event:
        """Return an event for when the service has heard some more calls."""
        self.service.faults.clear()
        return heard(EVERYWHERE, self.service.faults, number=self.random.randrange(1, max(len(self.media), 2)))

    async def _end(self, process: anyio.abc.Process) -> None:
        with anyio.move_on_after(self.random.choice([0.0, self.random.uniform(0, 0.2)])):
            await process.wait()
        if process.returncode is not None:
            return
        begun = anyio.current_time()
        process.send_signal(self.number)
        code = await process.wait()
        if code in {0, 1}:  # it had just ended
            return
        figures = self.figures
        figures.ends[self.number.name] += 1
        if self.number is not signal.SIGKILL:
            figures.slowest_end_s = max(figures.slowest_end_s, anyio.current_time() - begun)
            figures.wrong += [f"{path.name} left after {self.number.name}" for path in self.parts]
            if code != 130:
                figures.wrong.append(f"exit code {code} after {self.number.name}")

    async def run_until_done(self) -> None:
        """End it again and again, let it end, and have what is in doubt created."""
        for _ in range(self.most_ends):
            held = await self.run(is_ended=True)
            if held.code in {0, 1}:
                break
            self._check_noise(held)
        else:
            held = await self.run()
        await self._judge(held)
        doubted = held.in_doubt
        self.figures.in_doubt = len(doubted)
        self.figures.wrong += [
            f"{media}: in doubt and not named" for media in doubted if f"  {media}\n" not in held.errors
        ]
        if doubted:
            await self._judge(await self.run("--in-doubt", "recreate"), may_repeat=doubted)

    async def _judge(self, ended: Ended, *, may_repeat: frozenset[str] | set[str] = frozenset()) -> None:
        """Compare what the program told with what the service did and what lies in the output folder."""
        await self.service.settled()
        self._check_noise(ended)
        wrong = self.figures.wrong
        contents = {path: path.read_bytes() for path in self.media}
        known = Counter(contents.values())
        allowed = Counter(contents[self.folder / media] for media in may_repeat)
        repeated = Counter(self.work) - known
        wrong += [f"{count} tasks too many for one content" for count in (repeated - allowed).values()]
        told = {record["media"]: record["status"] for record in ended.records}
        for path, content in contents.items():
            media = str(path.relative_to(self.folder))
            expected = "failed" if _NO_FACE in content or media in ended.in_doubt else "completed"
            result = self.folder / "out" / path.relative_to(self.folder / "in")
            if told.get(media) != expected:
                wrong.append(f"{media}: {told.get(media)} instead of {expected}")
            if expected == "completed" and (not result.exists() or result.read_bytes() != content):
                wrong.append(f"{media}: its result is missing or damaged")
        wrong += [f"{path.name} should not be there" for path in self.parts]
        self.figures.files, self.figures.tasks = len(contents), len(self.service.ledger.creations)
        self.figures.recreated = repeated.total()

    def _check_noise(self, ended: Ended) -> None:
        words = ("Traceback", "Warning", "Unclosed", "never retrieved")
        self.figures.wrong += [line for line in ended.errors.splitlines() if any(word in line for word in words)]

    @property
    def media(self) -> list[Path]:
        return sorted((self.folder / "in").rglob("*.png"))

    @property
    def parts(self) -> list[Path]:
        return [path for path in (self.folder / "out").rglob("*") if path.is_file() and path.suffix == ".part"]


@asynccontextmanager
async def open_batch(
    folder: Path, *, files: int, seed: int, number: signal.Signals, most_ends: int
) -> AsyncIterator[Batch]:
    """Make media and start a service."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; the program would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    draw = random.Random(seed)
    await anyio.to_thread.run_sync(_make_media, folder, files, draw)
    work: list[bytes] = []

    def note(task: Work) -> None:
        content = task.media.read_bytes()
        work.append(content)
        if _NO_FACE in content:
            raise WorkError(602, "no face")

    runner = InstantRunner(duration_s=lambda _kind: draw.uniform(0, 0.2), fail=note)
    async with LocalService(runner=runner, faults=FaultPlan()) as service:
        yield Batch(folder, service, work, draw, number, most_ends)


def _make_media(folder: Path, files: int, draw: random.Random) -> None:
    """Make pictures in folders and their folders; some are the same, in some there is no face."""
    for number in range(files):
        path = folder / "in" / f"{number % 7}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = draw.randbytes(draw.randrange(500, 20_000)) if number % 20 else b"the same"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + (_NO_FACE if number % 25 == 3 else b"") + content)
    (folder / "me.png").write_bytes(b"\x89PNG\r\n\x1a\n me")


async def kill_batch(folder: Path, *, files: int, seed: int, number: signal.Signals, most_ends: int = 200) -> Figures:
    """End one batch with a signal, again and again, and return what became of it."""
    async with open_batch(folder, files=files, seed=seed, number=number, most_ends=most_ends) as batch:
        await batch.run_until_done()
        return batch.figures


def main() -> int:
    parser = long_run_parser("python -m tests.cli.killing", __doc__)
    parser.add_argument("--files", type=int, default=300, help="in each batch")
    options = parser.parse_args()

    async def kill(folder: Path, seed: int) -> Figures:
        number = SIGNALS[0] if seed % 2 else SIGNALS[1 + seed // 2 % 2]  # half of them are kills
        return await kill_batch(folder, files=options.files, seed=seed, number=number)

    return 1 if anyio.run(long_run, options, Figures(), kill).wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
