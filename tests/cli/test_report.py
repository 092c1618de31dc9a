"""``facewarp report`` and ``batch --report``."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.models import TaskKind
from facewarp_async.server import InstantRunner, LocalService
from tests.patience import seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
Settings = Callable[[LocalService], dict[str, str]]
BATCH = ["batch", "in", "--face", "me.png", "-o", "out"]


@pytest.fixture
def media(make_file: MakeFile) -> list[Path]:
    """Three pictures, one of which is empty, and a face."""
    files = [make_file(f"in/{number}.png") for number in range(3)]
    files[1].write_bytes(b"")
    make_file("me.png")
    return files


def read(path: Path) -> str:
    """Return a page's text."""
    page = path.read_text(encoding="utf-8")
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", body)))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")]


async def test_a_batch_writes_its_report_and_it_can_be_made_again(
    run: Any, here: dict[str, str], media: list[Path], tmp_path: Path
) -> None:
    ended = await run(*BATCH, "--report", "pages/holiday.html", env=here)
    assert (ended.code, ended.noise) == (1, [])
    assert ended.lines == ["out/0.png", "out/2.png"]
    assert ended.err.splitlines()[-1] == "report: pages/holiday.html"
    text = read(tmp_path / "pages" / "holiday.html")
    for expected in (
        "1.png failed",
        "is empty, expected JPG",
        "Repair the file or leave it out",
        "processing at the service",
    ):
        assert expected in text, text
    again = await run("report", "out")
    assert (again.code, again.noise, again.lines) == (0, [], ["out/report.html"])
    made = re.compile(r"Made on .*")
    links = re.compile(r"\S+ kB|\S+ B")
    assert links.sub("", made.sub("", read(tmp_path / "out" / "report.html"))) == links.sub("", made.sub("", text))
    assert [name for name in names(tmp_path) if name.endswith(".part")] == []


async def test_the_report_of_a_batch_that_was_resumed_tells_of_both_runs(
    run: Any, here: dict[str, str], media: list[Path], local: LocalService, tmp_path: Path
) -> None:
    await run(*BATCH, env=here)
    media[1].write_bytes(media[0].read_bytes() + b"!")
    await run(*BATCH, "--report", "report.html", env=here)
    text = read(tmp_path / "report.html")
    calls = sum(number for path, number in local.ledger.calls.items() if path.startswith("/v1"))
    assert f"API calls{calls}last run: " in text.replace("> <", "")
    assert "tasks created3last run: 1" in text
    assert "in 2 runs" in text
    assert "failed" not in text.partition("3 files")[2].partition("Find")[0]


async def test_without_a_journal_there_is_a_report_and_nothing_is_left(
    run: Any, here: dict[str, str], media: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    ended = await run(*BATCH, "--no-journal", "--report", "report.html", env=here | {"TMPDIR": str(tmp_path / "tmp")})
    assert (ended.code, ended.noise) == (1, [])
    assert "done2failed1" in read(tmp_path / "report.html").replace(" ", "")
    assert names(tmp_path / "tmp") == []
    assert not (tmp_path / "out" / ".facewarp").exists()
    ended = await run("report", "out")
    assert ended.code == 2
    assert "there is no journal: no batch has written to out, or it kept none" in ended.err
    assert not (tmp_path / "out" / "report.html").exists()


async def test_the_report_of_a_stopped_batch_says_why_and_names_what_was_not_begun(
    run: Any, settings: Settings, make_file: MakeFile, tmp_path: Path
) -> None:
    for number in range(5):
        make_file(f"in/{number}.png")
    make_file("me.png")
    async with LocalService(runner=InstantRunner()) as service:
        env = settings(service)
        ended = await run(*BATCH, "--max-credits", "2", "--report", "report.html", env=env)
    assert ended.code == 3
    text = read(tmp_path / "report.html")
    assert "The batch was stopped." in text
    assert "--max-credits" in text
    assert "done2failed0notfinished3" in text.replace(" ", "")


async def test_an_interrupted_batch_can_be_reported_of(
    start: Any, run: Any, settings: Settings, media: list[Path], tmp_path: Path, read_errors: Any
) -> None:
    begun = anyio.Event()

    def last(_kind: TaskKind) -> float:
        begun.set()
        return 600.0

    async with LocalService(runner=InstantRunner(duration_s=last)) as service:
        async with start(*BATCH, "--report", "report.html", env=settings(service)) as process:
            with anyio.fail_after(seconds(20)):
                await begun.wait()
            running = await run("report", "out")
            assert running.code == 2
            assert "the journal is used by another process" in running.err
            process.send_signal(signal.SIGINT)
            await read_errors(process)
            assert await process.wait() == 130
        assert not (tmp_path / "report.html").exists()
        ended = await run("report", "out", "-o", "report.html")
    assert (ended.code, ended.lines) == (0, ["report.html"])
    text = read(tmp_path / "report.html")
    assert "The batch was interrupted." in text
    assert "not finished" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--report", "report.html", "--dry-run"], "--dry-run runs none"),
        (["--report", "in"], "in: is a folder, expected the file to write the report to"),
        (["--report", "me.png/report.html"], "me.png: results cannot be written there"),
        (["--report", "s3://bucket/report.html"], "s3://bucket/report.html"),
    ],
)
async def test_what_cannot_be_written_is_told_before_anything_is_paid_for(
    run: Any, here: dict[str, str], media: list[Path], local: LocalService, arguments: list[str], expected: str
) -> None:
    ended = await run(*BATCH, *arguments, env=here)
    assert (ended.code, ended.noise) == (2, [])
    assert expected in ended.err
    assert not local.ledger.calls


async def test_a_report_needs_no_pictures_in_it(
    run: Any, here: dict[str, str], media: list[Path], tmp_path: Path
) -> None:
    await run(*BATCH, env=here)
    ended = await run("report", "out", "--pictures", "link", "-o", "linked.html")
    assert ended.lines == ["linked.html"]
    assert 'src="./out/0.png"' in (tmp_path / "linked.html").read_text()
