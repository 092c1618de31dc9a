"""The page as a file: what is in it, that it asks nothing of a network, and that it is there whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.errors import NoFaceError, OutputError
from facewarp_async.journal import Ending, JobRecord, JobState, RunRecord
from facewarp_async.report import page, write_page
from facewarp_async.report.reading import build_report

pytestmark = pytest.mark.anyio

MakePage = Callable[..., Any]
MakeRecord = Callable[..., JobRecord]
MakeRun = Callable[..., RunRecord]

ADDRESSES = {"src", "href", "srcset", "poster", "action", "data", "formaction", "content"}


class Elements(HTMLParser):
    """Gathers a page's elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def addresses(self) -> Iterator[str]:
        for tag, attributes in self.elements:
            for name in ADDRESSES - ({"content"} if tag == "meta" else set()):
                if value := attributes.get(name):
                    yield value


async def read(path: Path) -> str:
    return await anyio.Path(path).read_text(encoding="utf-8")


async def test_the_page_holds_what_is_to_be_told(
    make_page: MakePage, make_swap: MakeRecord, make_record: MakeRecord, make_run: MakeRun
) -> None:
    failed = make_record("b.jpg", state=JobState.FAILED, error=NoFaceError("no face was found", task_id=8))
    text = "".join(Elements(await read(await make_page([make_swap("a"), failed], [make_run()]))).texts)
    text = re.sub(r"\s+", " ", text)
    for expected in (
        "no face was found (code 602)",
        "Use pictures in which the face is upright, uncovered and not too small. Credits were spent on task 8.",
        "processing at the service 10.0 s",
        "6: 2 for upload URLs, 3 looks at tasks, 1 creates",
        "tasks paid for2",
        "API calls6",
        "1 min 40 s",
    ):
        assert expected in text, expected


async def test_everything_is_in_the_page_or_beside_it(
    make_page: MakePage, make_swap: MakeRecord, make_run: MakeRun
) -> None:
    text = await read(await make_page([make_swap("a")], [make_run()]))
    addresses = list(Elements(text).addresses())
    assert len(addresses) >= 6
    assert not [address for address in addresses if not address.startswith(("data:", "./", "#"))]
    assert not re.search(r"@import|url\(|https?://", text)


async def test_its_policy_allows_its_own_style_and_script_alone(make_page: MakePage, make_swap: MakeRecord) -> None:
    text = await read(await make_page([make_swap("a")]))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (source,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{rule} &#39;sha256-{digest}&#39;;" in policy[1]
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r'<[a-z][^>]* (on[a-z]+|style)="', text), "the policy would refuse these"


HOSTILE = [
    "</script><script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1).png",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}.png",
    "line\nbreak\r\x00\x1b[31m.png",
    "\u202egnp.exe",
    "raw\udcff.png",
    "😀 ü 漢.png",
    "&lt;b&gt;&amp;.png",
    "a" * 300,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_names_are_text(
    make_page: MakePage, make_record: MakeRecord, make_run: MakeRun, name: str
) -> None:
    pages = []
    for called in (name, "folder/plain" if "/" in name else "plain"):
        record = make_record(called, state=JobState.FAILED, error=NoFaceError(called, task_id=7))
        run = make_run(provider=called, reason=called, ending=Ending.STOPPED)
        pages.append(Elements(await read(await make_page([record], [run], title=called))))
    hostile, plain = pages
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    for (_, attributes), (_, others) in zip(hostile.elements, plain.elements, strict=True):
        assert set(attributes) == set(others)
    assert "{{ 7 * 7 }}" in "".join(hostile.texts) or "7 * 7" not in name


@pytest.mark.parametrize(("pictures", "copies"), [("auto", 2), ("embed", 2), ("link", 0)])
async def test_pictures_are_embedded_or_linked(
    make_page: MakePage, make_swap: MakeRecord, pictures: str, copies: int
) -> None:
    text = await read(await make_page([make_swap("a")], pictures=pictures))
    assert text.count("data:image/jpeg") == copies
    assert 'href="./a.png"' in text
    assert 'href="./../in/a.png"' in text


async def test_many_pictures_are_linked_unless_they_are_asked_for(
    make_page: MakePage, make_swap: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facewarp_async.report.cards.MOST_EMBEDDED", 1)
    records = [make_swap("a"), make_swap("b")]
    assert "data:image/jpeg" not in await read(await make_page(records))
    assert (await read(await make_page(records, pictures="embed"))).count("data:image/jpeg") == 4


async def test_files_that_are_not_there_are_not_shown(
    make_page: MakePage, make_swap: MakeRecord, tmp_path: Path
) -> None:
    record = make_swap("a")
    (tmp_path / "out" / "a.png").unlink()
    text = await read(await make_page([record]))
    assert "The result is not where it was written any more" in text
    assert '<figure class="single">' in text
    assert '<input type="range"' not in text


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ({}, None),
        ({"ending": Ending.STOPPED, "reason": "no credits are left"}, "no credits are left"),
        ({"ending": Ending.INTERRUPTED}, "The batch was interrupted"),
        ({"ending": None}, "ended from outside"),
    ],
)
async def test_how_the_last_run_ended_is_told(
    make_page: MakePage, make_swap: MakeRecord, make_run: MakeRun, changes: dict[str, Any], notice: str | None
) -> None:
    text = await read(await make_page([make_swap("a")], [make_run(**changes)]))
    assert ('<p class="notice">' in text) == (notice is not None)
    assert notice is None or notice in text


async def test_old_journals_are_told_of_with_what_they_know(make_page: MakePage, make_record: MakeRecord) -> None:
    text = await read(await make_page([make_record("a", steps="", name="")]))
    assert "API calls" not in text
    assert "Timeline" not in text


async def test_an_empty_batch_has_a_page_too(make_page: MakePage, make_run: MakeRun) -> None:
    assert "0 files" in re.sub(r"\s+", " ", await read(await make_page([], [make_run()])))


async def test_a_page_that_cannot_be_written_leaves_the_old_one(
    make_page: MakePage, make_swap: MakeRecord, tmp_path: Path
) -> None:
    path = await make_page([make_swap("a")])
    before = await read(path)
    (tmp_path / "out" / "report.html.part").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: the report cannot be written: "):
        await make_page([make_swap("b")])
    assert await read(path) == before


async def test_a_page_that_is_cancelled_leaves_nothing(
    make_swap: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = build_report([make_swap(str(number)) for number in range(30)], [], folder=tmp_path / "out")
    with anyio.CancelScope() as scope:
        write_some, calls = page._write_some, 0

        def write(*arguments: Any) -> bool:
            nonlocal calls
            calls += 1
            if calls == 2:
                anyio.from_thread.run_sync(scope.cancel)
            return write_some(*arguments)

        monkeypatch.setattr(page, "_WRITTEN_AT_ONCE", 1000)
        monkeypatch.setattr(page, "_write_some", write)
        await write_page(report, tmp_path / "out" / "report.html")
    assert scope.cancelled_caught
    assert calls == 2
    assert not list((tmp_path / "out").glob("report*"))


@pytest.mark.slow
def test_without_jinja2_the_error_says_which_extra_is_missing() -> None:
    code = "import sys; sys.modules['jinja2'] = None; import facewarp_async.report"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert "MissingExtraError: a report is made with jinja2: pip install 'facewarp-async[cli]'" in done.stderr
