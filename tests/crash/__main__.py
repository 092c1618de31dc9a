"""The long run: ``python -m tests.crash --minutes 5`` kills batches, one for each seed, and prints what became of them.

The exit code is 1 if a task was created twice without being named in doubt, or a result was lost.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import anyio

from tests.crash.killing import Figures, kill_batches


async def run(options: argparse.Namespace) -> Figures:
    total, ends_at = Figures(), time.monotonic() + options.minutes * 60
    for seed in itertools.count(options.first_seed):
        with tempfile.TemporaryDirectory() as folder:
            figures = await kill_batches(
                Path(folder), [seed], jobs=options.jobs, longest_s=options.longest, most_kills=options.kills
            )
        print(f"seed {seed}: {figures}", flush=True)
        total.add(figures)
        if time.monotonic() >= ends_at:
            break
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no further seed is begun")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=40, help="in each batch")
    parser.add_argument("--longest", type=float, default=0.5, help="seconds until a kill, at most")
    parser.add_argument("--kills", type=int, default=100, help="of each batch, at most")
    total = anyio.run(run, parser.parse_args())
    print(f"in all: {total}")
    return 1 if total.duplicates or total.losses else 0


if __name__ == "__main__":
    raise SystemExit(main())
