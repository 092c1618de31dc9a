"""What starting costs: importing the package beside importing its five libraries, and `facewarp --help`.

    python -m benchmarks start [--rounds 15]

Each run is a Python of its own; compiled files are warm. Beside the help stands that of a small cyclopts application,
which is what any command line made with cyclopts and rich takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from benchmarks.harness import Contest, Cost, print_table, run_program, spread, verdict

LIBRARIES = "import aiohttp, attrs, cattrs, anyio, aiofiles"
APPLICATION = "import cyclopts; app = cyclopts.App('x'); app.default(lambda: None); app(['--help'])"


def run(*arguments: str) -> Cost:
    return run_program([sys.executable, *arguments])[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    rounds = 1 if given.quick else given.rounds
    contestants: dict[str, Callable[[], Cost]] = {
        "bare Python": partial(run, "-c", ""),
        "its five libraries": partial(run, "-c", LIBRARIES),
        "import facewarp_async": partial(run, "-c", "import facewarp_async"),
    }
    if find_spec("cyclopts") is not None:
        assert "Usage" in run_program([sys.executable, "-m", "facewarp_async", "--help"])[0]
        contestants["a cyclopts --help"] = partial(run, "-c", APPLICATION)
        contestants["facewarp --help"] = partial(run, "-m", "facewarp_async", "--help")
    contest = Contest(contestants).run(1)
    contest = Contest(contestants).run(rounds)  # the first compiled what had to be
    rows = [
        [
            name,
            spread([cost.cpu_s * 1000 for cost in costs], 0),
            spread(contest.ratios(name, "its five libraries", lambda cost: cost.cpu_s)),
        ]
        for name, costs in contest.costs.items()
    ]
    print_table(f"Starts, {rounds} rounds", ["", "CPU ms", "CPU / its five libraries"], rows)
    pairs = [("import facewarp_async", "its five libraries", 1.15), ("facewarp --help", "a cyclopts --help", 2.0)]
    for name, base, most in pairs:
        if name in contest.costs:
            ratio = statistics.median(contest.ratios(name, base, lambda cost: cost.cpu_s))
            verdict(f"{name}: {ratio:.2f} of {base}, at most {most}", met=ratio <= most)


if __name__ == "__main__":
    main()
