"""What starting costs: importing the package beside importing its five libraries, and `facewarp --help`.

    python -m benchmarks start [--rounds 15]

Each run is a Python of its own that finds all modules compiled, in a folder of the benchmark's, whatever the
environment says of compiled files. The package's root imports a module when one of its names is first used: so beside
the bare import stands that with a client made, which has imported all that its calls need, and that with every public
name. Beside the help stands that of a small cyclopts application, which is what any command line made with cyclopts and
rich takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from benchmarks.harness import Contest, Cost, print_table, run_program, spread, verdict

LIBRARIES = "import aiohttp, attrs, cattrs, anyio, aiofiles"
CLIENT = "from facewarp_async import VIDNOZ, ApiKey, FaceSwapClient; FaceSwapClient(VIDNOZ, ApiKey('0123456789'))"
APPLICATION = "import cyclopts; app = cyclopts.App('x'); app.default(lambda: None); app(['--help'])"


def run(compiled: str, *arguments: str) -> Cost:
    env = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    return run_program([sys.executable, *arguments], env=env)[1]


def contestants(compiled: str) -> dict[str, Callable[[], Cost]]:
    """Return what is run, with the folder for compiled files."""
    programs = {
        "bare Python": ["-c", ""],
        "its five libraries": ["-c", LIBRARIES],
        "import facewarp_async": ["-c", "import facewarp_async"],
        "a client made": ["-c", CLIENT],
        "every public name": ["-c", "from facewarp_async import *"],
    }
    if find_spec("cyclopts") is not None:
        assert "Usage" in run_program([sys.executable, "-m", "facewarp_async", "--help"])[0]
        programs |= {"a cyclopts --help": ["-c", APPLICATION], "facewarp --help": ["-m", "facewarp_async", "--help"]}
    return {name: partial(run, compiled, *arguments) for name, arguments in programs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    rounds = 1 if given.quick else given.rounds
    with tempfile.TemporaryDirectory(prefix="facewarp-bench-") as compiled:
        contest = Contest(contestants(compiled))
        contest.run(1)  # compiles what has to be
        contest.costs.clear()
        contest.run(rounds)
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
