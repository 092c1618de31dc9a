"""Records of jobs and runs as a journal holds them, real pictures, and pages made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from attrs import evolve

from facewarp_async.journal import Ending, JobRecord, JobState, RunRecord
from facewarp_async.models import ImageResult, TaskKind
from facewarp_async.report import write_page
from facewarp_async.report.reading import build_report

BEGAN_AT = 1_790_000_000.0
"""When the first run began."""


def _make_run(**changes: Any) -> RunRecord:
    run = RunRecord(
        provider="vidnoz",
        began_at=BEGAN_AT,
        seen_at=BEGAN_AT + 100,
        calls={"/v1/source/upload-url": 2, "/v1/task/face-swap": 1, "/v1/task/detail": 3},
        ending=Ending.FINISHED,
    )
    return evolve(run, **changes)


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    """Make a run of a hundred seconds with six calls."""
    return _make_run


def _make_record(name: str, /, **changes: Any) -> JobRecord:
    record = JobRecord(
        key=name.encode("utf-8", "surrogateescape"),
        kind=TaskKind.IMAGE_SWAP,
        media=name,
        name=name,
        state=JobState.DONE,
        tasks={TaskKind.IMAGE_SWAP: 7},
        created=1,
        result=ImageResult(task_id=7, key="result.png", url=""),
        steps=steps("c0 u1 n3 t6 w6 d16 e18"),
        updated_at=BEGAN_AT + 18,
    )
    for key, value in changes.items():
        setattr(record, key, value)
    return record


def steps(text: str) -> str:
    """Write steps whose times are seconds after the beginning."""
    return "".join(f"{word[0]}{BEGAN_AT + float(word[1:]):.3f} " for word in text.split())


@pytest.fixture
def make_record() -> Callable[..., JobRecord]:
    """Make the record of a job that took 18 seconds and is done, unless something else is said."""
    return _make_record


@pytest.fixture
def make_steps() -> Callable[[str], str]:
    return steps


def draw(path: Path, *, light: int, width: int = 64, height: int = 48) -> Path:
    """Write a picture of one shade of grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), light, np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.fixture
def make_picture() -> Callable[..., Path]:
    return draw


MakePage = Callable[..., Awaitable[Path]]


@pytest.fixture
def make_page(tmp_path: Path) -> MakePage:
    """Write the page of some records to ``out/report.html``; their results are below ``out``."""

    async def make(records: Sequence[JobRecord], runs: Sequence[RunRecord] = (), **options: Any) -> Path:
        report = build_report(records, runs, folder=tmp_path / "out", title=options.pop("title", "out"))
        return await write_page(report, tmp_path / "out" / "report.html", **options)

    return make


@pytest.fixture
def make_swap(tmp_path: Path) -> Callable[..., JobRecord]:
    """Make a job that is done, with a dark picture before and a light one after."""

    def make(name: str, **changes: Any) -> JobRecord:
        before = draw(tmp_path / "in" / f"{name}.png", light=40)
        after = draw(tmp_path / "out" / f"{name}.png", light=220)
        path = str(after.relative_to(tmp_path / "out"))
        return _make_record(name, media=f"in/{name}.png", source=str(before), path=path, **changes)

    return make
