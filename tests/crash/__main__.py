"""The long run: ``python -m tests.crash --minutes 5`` kills batches, one for each seed, and prints what became of them.

The exit code is 1 if a task was created twice without being named in doubt, or a result was lost.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.crash.killing import Figures, kill_batches
from tests.killing import long_run, long_run_parser


def main() -> int:
    parser = long_run_parser("python -m tests.crash", __doc__)
    parser.add_argument("--jobs", type=int, default=40, help="in each batch")
    parser.add_argument("--longest", type=float, default=0.5, help="seconds until a kill, at most")
    parser.add_argument("--kills", type=int, default=100, help="of each batch, at most")
    options = parser.parse_args()

    async def kill(folder: Path, seed: int) -> Figures:
        return await kill_batches(
            folder, [seed], jobs=options.jobs, longest_s=options.longest, most_kills=options.kills
        )

    total = anyio.run(long_run, options, Figures(), kill)
    return 1 if total.duplicates or total.losses else 0


if __name__ == "__main__":
    raise SystemExit(main())
