"""The real program, ended at random moments: nothing is paid for twice unless it was named in doubt, nothing is lost.

The long run is ``python -m tests.cli.killing``.
"""

from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType

import pytest

from tests.patience import seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_batch_that_is_killed_again_and_again_is_done_in_the_end(killing: ModuleType, tmp_path: Path) -> None:
    figures = await killing.kill_batch(tmp_path, files=120, seed=1, number=signal.SIGKILL, most_ends=4)
    print(figures)
    assert figures.wrong == []
    assert figures.ends["SIGKILL"] >= 2
    assert figures.tasks == 120 + figures.recreated


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_batch_that_is_interrupted_goes_on_without_a_doubt(
    number: signal.Signals, killing: ModuleType, tmp_path: Path
) -> None:
    figures = await killing.kill_batch(tmp_path, files=40, seed=2, number=number, most_ends=1)
    print(figures)
    assert figures.wrong == []
    assert figures.ends[number.name] >= 1
    assert (figures.tasks, figures.in_doubt) == (40, 0)
    assert figures.slowest_end_s < seconds(1.5)
