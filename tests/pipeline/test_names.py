"""Names of results: in the folder, and each for one job only."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import Asset, ImageResult, ImageSwap, VideoResult
from facewarp_async.pipeline.names import NameBook, target_path


def job(name: str | None = None, media: str | Asset = "in/photo.jpg") -> ImageSwap:
    return ImageSwap(media, "me.jpg", name=name)


def result(key: str) -> ImageResult:
    return ImageResult(task_id=1, key=key, url="https://x")


def test_a_job_is_called_by_its_name_or_its_medias() -> None:
    book = NameBook()
    assert book.claim(job("2024/summer/beach")) == "2024/summer/beach"
    assert book.claim(job(media="in/photo.v2.jpg")) == "photo.v2"
    assert book.claim(job(media=Asset("temporary/1/2-3.jpg"))) == "2-3"


def test_a_name_that_is_taken_gets_a_number() -> None:
    book = NameBook()
    names = ["a", "A", "a-2", "a", "\u00e9", "e\u0301"]
    assert [book.claim(job(name)) for name in names] == ["a", "A-2", "a-2-2", "a-3", "\u00e9", "e\u0301-2"]


@pytest.mark.parametrize(
    ("wanted", "given_name"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../b", "a/b"),
        ("..", "result"),
        ("", "result"),
        ("a\\..\\b", "a_.._b"),
        ("con", "_con"),
        ("NUL.tar", "_NUL.tar"),
        ("new\nline\x00", "new_line_"),
        ("trailing. .", "trailing"),
        ("MAX", "MAX"),
    ],
)
def test_no_name_leaves_the_folder_or_is_one_that_systems_refuse(wanted: str, given_name: str) -> None:
    assert NameBook().claim(job(wanted)) == given_name


@pytest.mark.skipif(os.name == "nt", reason="there these letters are not allowed")
def test_what_the_system_allows_is_kept() -> None:
    assert NameBook().claim(job('12:30 "why?" <a|b>*')) == '12:30 "why?" <a|b>*'


@given(st.lists(st.text(max_size=300), max_size=30))
def test_names_stay_inside_are_short_and_never_collide(wanted: list[str]) -> None:
    book = NameBook()
    names = [book.claim(job(name)) for name in wanted]
    for name in names:
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert all(len(part.encode("utf-8", "surrogateescape")) <= 220 for part in path.parts)
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(folded) == len(names)


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("x/1.PNG", "a.png"),
        ("x/1.jpeg", "a.jpeg"),
        ("x/1.exe", "a.png"),
        ("x/1", "a.png"),
        ("x/1.jpg/../../y", "a.png"),
    ],
)
def test_the_extension_is_the_results_if_it_is_a_known_one(key: str, file: str) -> None:
    assert target_path(Path("out"), "a", result(key)) == Path("out") / file


def test_a_video_of_unknown_extension_is_an_mp4() -> None:
    assert target_path(Path("out"), "a", VideoResult(task_id=1, key="k", url="u")) == Path("out/a.mp4")
