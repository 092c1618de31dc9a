"""Names that are too long for a file system, and names whose bytes are no UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facewarp_async.models import ImageResult, ImageSwap
from facewarp_async.pipeline.names import NameBook, target_path, with_ending
from facewarp_async.urls import RemoteFile

LONGEST = 200
"""The bytes that a name may have: with a number, an extension and ``.part`` it stays below 255."""


def claimed(name: str) -> str:
    return NameBook().claim(ImageSwap("in/a.jpg", "me.jpg", name=name))


def test_a_name_of_two_hundred_bytes_is_kept_and_a_longer_one_ends_with_a_mark_of_its_own() -> None:
    assert claimed("x" * LONGEST) == "x" * LONGEST
    cut = claimed("x" * (LONGEST + 1))
    assert cut == "x" * 191 + "-d5d8dd08", "the same in each run, or results would be made anew"
    assert len(cut) == LONGEST


def test_long_names_that_differ_at_their_ends_only_stay_apart_without_a_number() -> None:
    book = NameBook()
    names = [book.claim(ImageSwap("in/a.jpg", "me.jpg", name="x" * 300 + end)) for end in "abc"]
    assert len({name[-8:] for name in names}) == 3
    assert {len(name) for name in names} == {LONGEST}


def test_no_letter_is_cut_in_two() -> None:
    cut = claimed("€" * 100)  # three bytes each
    assert cut.startswith("€" * 63 + "-")
    assert len(cut.encode()) == 63 * 3 + 9


def test_each_folder_on_the_way_is_cut_by_itself() -> None:
    folder, name = claimed(f"{'x' * 300}/{'y' * 100}").split("/")
    assert (len(folder), name) == (LONGEST, "y" * 100)


@pytest.mark.parametrize("length", [1, 199, 200, 201, 400])
def test_a_name_that_is_no_text_is_one_all_the_same(length: int) -> None:
    name = claimed(os.fsdecode(b"\xff" * length))
    assert 0 < len(os.fsencode(name)) <= LONGEST
    assert name == claimed(os.fsdecode(b"\xff" * length))


def test_names_that_are_no_text_are_told_apart() -> None:
    book = NameBook()
    names = [book.claim(ImageSwap("in/a.jpg", "me.jpg", name=os.fsdecode(raw))) for raw in (b"\xff", b"\xfe", b"\xff")]
    assert [os.fsencode(name) for name in names] == [b"\xff", b"\xfe", b"\xff-2"]


@given(st.text(max_size=250), st.sampled_from(["", "-2", ".sha256-0123456789abcdef.part"]))
@example("x" * 200, "-2")
@example("x" * 198, "-2")
@example("x" * 199, "-2")
def test_an_ending_stays_whole_and_the_name_before_it_too_where_there_is_room(stem: str, ending: str) -> None:
    name = with_ending(stem, ending)
    size = len(stem.encode("utf-8", "surrogateescape"))
    assert name.endswith(ending)
    assert len(name.encode("utf-8", "surrogateescape")) <= LONGEST
    assert (name == stem + ending) is (size + len(ending) <= LONGEST)


def test_a_result_elsewhere_lies_in_its_folder_there() -> None:
    made = ImageResult(task_id=1, key="k.jpg", url="https://x")
    assert str(target_path(RemoteFile("s3://bucket/out"), "a/b", made)) == "s3://bucket/out/a/b.jpg"
    assert target_path(Path("out"), "a/b", made) == Path("out/a/b.jpg")
