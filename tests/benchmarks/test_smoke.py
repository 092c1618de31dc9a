"""The benchmarks still run, and still find their results right; what they measure here means nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SHORT = {
    "calls": [],
    "distributed": ["coordinator", "--workers", "5", "--jobs", "200"],
    "journal": ["--jobs", "50", "--rounds", "1", "--waiting", "8", "--resumed", "5"],
    "pace_model": ["--jobs", "20", "--rounds", "1", "--sets", "steady", "--regimes", "1/s"],
    "peers": [],
    "scale": [],
    "start": [],
    "transfers": [],
}


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_benchmark_runs_and_prints_figures(name: str) -> None:
    if name == "transfers" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    printed = run(name, *(SHORT[name] or ["--quick"]))
    assert any(character.isdigit() for character in printed)


def test_a_benchmark_of_no_such_name_is_told_the_names() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "transfers" in done.stdout) == (2, True)
