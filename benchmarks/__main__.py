"""Runs a benchmark: ``python -m benchmarks NAME [options]``; ``--quick`` alone runs all, too small to mean much."""

from __future__ import annotations

import runpy
import sys
import time

QUICK: dict[str, list[str]] = {
    "transfers": ["--quick"],
    "calls": ["--quick"],
    "scale": ["--quick"],
    "start": ["--quick"],
    "peers": ["--quick"],
    "pace": ["--quick"],
    "journal": ["--quick"],
    "engine": ["--quick"],
}
"""The benchmarks, and what makes each of them short."""


def run(name: str, *options: str) -> None:
    """Run one benchmark as if it was called by its name."""
    sys.argv = [f"python -m benchmarks {name}", *options]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=False)


def main() -> int:
    match sys.argv[1:]:
        case ["--quick"]:
            for name, options in QUICK.items():
                begun = time.perf_counter()
                print(f"\n== {name}", flush=True)
                run(name, *options)
                print(f"== {name}: {time.perf_counter() - begun:.1f} s", flush=True)
        case [name, *options] if name in QUICK:
            run(name, *options)
        case _:
            print(f"python -m benchmarks NAME [options], or --quick for a bit of all\nNAME: {', '.join(QUICK)}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
