"""Runs a benchmark: ``python -m benchmarks NAME [options]``; ``--quick`` alone runs all, too small to mean much."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

QUICK: dict[str, list[str]] = {
    "transfers": ["--quick"],
    "calls": ["--quick"],
    "scale": ["--quick"],
    "start": ["--quick"],
    "peers": ["--quick"],
    "pace": ["--jobs", "10", "--rounds", "1", "--designs", "facewarp", "--quick"],
    "pace_model": ["--jobs", "30", "--rounds", "1"],
    "journal": ["--jobs", "200", "--rounds", "1", "--waiting", "16", "--resumed", "20"],
    "distributed": ["coordinator", "--workers", "20", "--jobs", "1000"],
    "engine": ["--rounds", "1", "--frames", "5"],
}
"""The benchmarks, and what makes each of them short."""


def run(name: str, *options: str) -> int:
    """Run one benchmark in a process of its own, as some start processes that import what they were started from."""
    code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode
    if code < 0:
        print(f"{name} was ended by {signal.Signals(-code).name}", file=sys.stderr)
    return code


def main() -> int:
    match sys.argv[1:]:
        case ["--quick"]:
            for name, options in QUICK.items():
                begun = time.perf_counter()
                print(f"\n== {name}", flush=True)
                if code := run(name, *options):
                    return code
                print(f"== {name}: {time.perf_counter() - begun:.1f} s", flush=True)
        case [name, *options] if name in QUICK:
            return run(name, *options)
        case _:
            print(f"python -m benchmarks NAME [options], or --quick for a bit of all\nNAME: {', '.join(QUICK)}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
