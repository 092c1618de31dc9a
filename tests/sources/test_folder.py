"""Jobs from a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from facewarp_async.errors import MissingFileError
from facewarp_async.files import inspect_now
from facewarp_async.models import Asset, ImageSwap, VideoSwap
from facewarp_async.sources import jobs_from_folder

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]


def names(folder: Path, **options: object) -> list[str | None]:
    return [job.name for job in jobs_from_folder(folder, face="me.jpg", **options)]  # type: ignore[arg-type]  # forwarded


def test_jobs_come_in_the_order_of_their_paths(make_file: MakeFile, tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/b/c.png", "a.jpg", "B.png", "10.png", "9.png"):
        make_file(name)
    found = [job.media for job in jobs_from_folder(tmp_path, face="me.jpg")]
    assert found == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert names(tmp_path) == ["10", "9", "B", "a/b/c", "a/z", "a", "b"]


def test_each_media_becomes_the_job_that_its_first_bytes_ask_for(make_file: MakeFile, tmp_path: Path) -> None:
    make_file("a.png"), make_file("b.mp4"), make_file("c.gif")
    make_file("d.mp4").rename(tmp_path / "d.jpg")
    make_file("e.png").rename(tmp_path / "e")
    face = Asset("face")
    jobs = list(jobs_from_folder(str(tmp_path), face=face, hd=True))
    assert [type(job) for job in jobs] == [ImageSwap, VideoSwap, ImageSwap, VideoSwap, ImageSwap]
    assert all(job.face is face and job.hd for job in jobs)


def test_hidden_files_and_what_is_no_media_are_passed_over(make_file: MakeFile, tmp_path: Path) -> None:
    make_file("a.png"), make_file(".hidden.png"), make_file(".cache/x.png"), make_file("out/.part/y.png")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "Makefile").write_text("all:")
    (tmp_path / "empty").touch()
    assert names(tmp_path) == ["a"]


def test_what_is_called_like_media_and_is_none_becomes_a_job_that_will_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.PNG").write_text("<html>")
    (tmp_path / "text.jpeg").write_text("x")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "loop.webp").symlink_to("loop.webp")
    os.mkfifo(tmp_path / "pipe.gif")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert names(tmp_path) == ["empty", "gone", "loop", "page", "pipe", "text"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(
    make_file: MakeFile, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make_file("real.png").rename(elsewhere / "real.png")
    (tmp_path / "file.png").symlink_to(elsewhere / "real.png")
    (tmp_path / "folder").symlink_to(elsewhere)
    (tmp_path / "self").symlink_to(tmp_path)
    assert names(tmp_path) == ["file"]


def test_folders_below_can_be_left_out(make_file: MakeFile, tmp_path: Path) -> None:
    for name in ("a.png", "in/b.png", "out/c.png", "in/out/d.png"):
        make_file(name)
    assert names(tmp_path, recursive=False) == ["a"]
    assert names(tmp_path, output_dir=tmp_path / "out") == ["a", "in/b", "in/out/d"]
    assert names(tmp_path, output_dir=str(tmp_path / "in" / ".." / "out")) == ["a", "in/b", "in/out/d"]


def test_a_relative_folder_is_excluded_as_an_absolute_one(
    make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file("a.png"), make_file("out/b.png")
    monkeypatch.chdir(tmp_path)
    assert names(Path(), output_dir="out") == ["a"]
    assert names(tmp_path, output_dir="out") == ["a"]


def test_a_folder_that_cannot_be_listed_is_a_typed_error_that_names_it(make_file: MakeFile, tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", make_file()):
        with pytest.raises(MissingFileError, match=f"{folder}: cannot be listed"):
            names(folder)


def test_a_folder_below_that_cannot_be_listed_becomes_a_job_that_fails_and_the_rest_goes_on(
    make_file: MakeFile, tmp_path: Path
) -> None:
    make_file("a.png"), make_file("b/c.png"), make_file("d.png")
    jobs = iter(jobs_from_folder(tmp_path, face="me.jpg"))
    assert next(jobs).name == "a"
    (tmp_path / "b" / "c.png").unlink()
    (tmp_path / "b").rmdir()
    gone, rest = jobs
    assert (gone.media, gone.name, rest.name) == (tmp_path / "b", "b", "d")
    with pytest.raises(MissingFileError, match="b: cannot be read"):
        inspect_now(tmp_path / "b")


def test_a_folder_that_may_not_be_read_fails_its_own_job_only(
    make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file("a/x.png"), make_file("b/c/y.png"), make_file("d.png")
    list_folder = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "c":
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr("facewarp_async.sources.folder.os.scandir", scandir)
    assert names(tmp_path) == ["a/x", "b/c", "d"]
    with pytest.raises(MissingFileError, match="is no regular file"):
        inspect_now(tmp_path / "b/c")


def test_the_face_is_no_media_wherever_it_lies(make_file: MakeFile, tmp_path: Path) -> None:
    make_file("a.png"), make_file("b/c.png")
    face = make_file("faces/me.png")
    (tmp_path / "link.png").symlink_to(face)
    (tmp_path / "b/hard.png").hardlink_to(face)

    def found(face: str | Path | Asset) -> list[str | None]:
        return [job.name for job in jobs_from_folder(tmp_path, face=face)]

    assert found(face) == ["a", "b/c"]
    assert found(str(tmp_path / "b/../faces/me.png")) == ["a", "b/c"]
    assert found(Asset("face")) == ["a", "b/c", "b/hard", "faces/me", "link"]
    assert found(tmp_path / "gone.png") == ["a", "b/c", "b/hard", "faces/me", "link"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ("*.jpg", (), ["a", "in/b", "in/deep/c"]),
        (["in/*"], (), ["in/b", "in/d", "in/deep/c"]),
        (["in/*.jpg", "e.png"], (), ["e", "in/b", "in/deep/c"]),
        (["**/*.jpg"], (), ["a", "in/b", "in/deep/c"]),
        ((), "deep", ["a", "e", "in/b", "in/d"]),
        ((), ["in/*"], ["a", "e"]),
        ("*.jpg", ["deep", "a.*"], ["in/b"]),
        (["[ae].*"], (), ["a", "e"]),
        (["*.JPG"], (), []),
    ],
)
def test_patterns_choose_the_files(
    include: str | list[str], exclude: str | list[str], expected: list[str], make_file: MakeFile, tmp_path: Path
) -> None:
    for name in ("a.jpg", "e.png", "in/b.jpg", "in/d.png", "in/deep/c.jpg"):
        make_file(name)
    assert names(tmp_path, include=include, exclude=exclude) == expected


def test_jobs_are_found_while_they_are_asked_for(make_file: MakeFile, tmp_path: Path) -> None:
    make_file("a/1.png"), make_file("b/2.png")
    jobs = iter(jobs_from_folder(tmp_path, face="me.jpg"))
    assert next(jobs).name == "a/1"
    make_file("b/3.png")
    assert [job.name for job in jobs] == ["b/2", "b/3"]


async def test_a_folder_is_read_beside_the_loop(make_file: MakeFile, tmp_path: Path) -> None:
    for name in ("a.png", "b/c.mp4", "out/d.png"):
        make_file(name)
    source = jobs_from_folder(tmp_path, face="me.jpg", output_dir=tmp_path / "out")
    assert [job.name async for job in source] == ["a", "b/c"]
    assert [job.name async for job in source] == ["a", "b/c"], "each time from the beginning"


async def test_an_error_of_the_folder_reaches_who_reads_it_beside_the_loop(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        [job async for job in jobs_from_folder(tmp_path / "gone", face="me.jpg")]
