"""Records and what they hold: as written, so read; and a job's key, which knows contents and options only."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async import errors
from facewarp_async.errors import FaceWarpError, InDoubtError, Stage
from facewarp_async.journal import JobRecord, JobState, job_key
from facewarp_async.journal.codec import decode_error, decode_result, encode_error, encode_result
from facewarp_async.journal.record import COLUMNS
from facewarp_async.journal.schema import APPLICATION_ID
from facewarp_async.models import Face, FaceDetection, ImageResult, Picture, Point, Result, TaskKind, VideoResult

maybe_ints = st.none() | st.integers(0, 2**53)
urls = st.just("https://storage.example/x?X-Amz-Signature=5ecret")
floats = st.floats(allow_nan=False, allow_infinity=False)
pictures = st.builds(Picture, key=st.text(), url=urls, width=maybe_ints, height=maybe_ints)
faces = st.builds(
    Face,
    kps=st.lists(st.builds(Point, x=floats, y=floats), max_size=5).map(tuple),
    key=st.text(),
    url=urls,
    size=maybe_ints,
    width=maybe_ints,
    height=maybe_ints,
)
ids = st.integers(0, 2**63)
results: st.SearchStrategy[Result] = st.one_of(
    st.builds(
        ImageResult, task_id=ids, key=st.text(), url=urls, size=maybe_ints, width=maybe_ints, height=maybe_ints,
        thumbnail=st.none() | pictures,
    ),
    st.builds(
        VideoResult, task_id=ids, key=st.text(), url=urls, size=maybe_ints, width=maybe_ints, height=maybe_ints,
        duration_s=st.none() | floats, cover=st.none() | pictures, cover_thumbnail=st.none() | pictures,
    ),
    st.builds(FaceDetection, task_id=ids, faces=st.lists(faces, max_size=4).map(tuple)),
)  # fmt: skip
ERRORS = sorted(
    (cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, FaceWarpError)),
    key=lambda cls: cls.__name__,
)
any_text = st.text(st.characters())  # with the surrogates that stand for bytes that are no text


def without_urls(value: Any) -> Any:
    if isinstance(value, FaceDetection):
        return evolve(value, faces=tuple(evolve(face, url="") for face in value.faces))
    pictures = {
        name: evolve(getattr(value, name), url="")
        for name in ("thumbnail", "cover", "cover_thumbnail")
        if getattr(value, name, None) is not None
    }
    return evolve(value, url="", **pictures)


@given(results)
def test_a_result_comes_back_without_its_urls(result: Result) -> None:
    text = encode_result(result)
    assert "storage.example" not in text
    assert decode_result(text) == without_urls(result)


@given(
    st.sampled_from(ERRORS),
    any_text,
    st.none() | st.integers(),
    maybe_ints,
    maybe_ints,
    st.none() | st.sampled_from(Stage),
)
def test_an_error_comes_back_as_it_was(
    cls: type[FaceWarpError],
    message: str,
    code: int | None,
    http_status: int | None,
    task_id: int | None,
    stage: Stage | None,
) -> None:
    error = cls(message)
    error.code, error.http_status, error.task_id, error.stage = code, http_status, task_id, stage
    again = decode_error(encode_error(error))
    assert type(again) is cls
    assert [getattr(again, name) for name in ("message", "code", "http_status", "task_id", "stage")] == [
        message, code, http_status, task_id, stage,
    ]  # fmt: skip
    assert str(again) == str(error)
    assert again.paid == error.paid


@pytest.mark.parametrize("name", ["Vanished", "Stage", "annotations"])
def test_an_error_whose_class_is_gone_is_still_an_error(name: str) -> None:
    text = encode_error(InDoubtError("why")).replace("InDoubtError", name)
    assert type(decode_error(text)) is FaceWarpError


records = st.builds(
    JobRecord,
    key=st.binary(min_size=32, max_size=32),
    kind=st.sampled_from(TaskKind),
    media=st.text(),
    state=st.sampled_from(JobState),
    pending=st.none() | st.sampled_from(TaskKind),
    tasks=st.dictionaries(st.sampled_from(TaskKind), ids),
    path=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    size=maybe_ints,
    digest=st.none() | st.binary(min_size=32, max_size=32),
    result=st.none() | results.map(without_urls),
)


@given(records)
def test_a_record_comes_back_from_its_row(record: JobRecord) -> None:
    assert JobRecord.from_row(record.to_row()) == record


def test_a_path_of_any_bytes_comes_back() -> None:
    record = JobRecord(key=b"", kind=TaskKind.IMAGE_SWAP, media="", path="a\udcff\udc80/\u00e9.png")
    assert JobRecord.from_row(record.to_row()).path == record.path


KEY = ("realm", TaskKind.IMAGE_SWAP, [b"media", b"face"], [False], 0)


@pytest.mark.parametrize(
    "other",
    [
        ("other", *KEY[1:]),
        (KEY[0], TaskKind.VIDEO_SWAP, *KEY[2:]),
        (*KEY[:2], [b"media", b"another"], *KEY[3:]),
        (*KEY[:2], [b"face", b"media"], *KEY[3:]),
        (*KEY[:2], [b"mediaface"], *KEY[3:]),
        (*KEY[:3], [True], 0),
        (*KEY[:4], 1),
    ],
    ids=["realm", "kind", "face", "order", "boundary", "hd", "occurrence"],
)
def test_a_key_tells_apart_what_makes_another_result(other: Any) -> None:
    assert job_key(*other) != job_key(*KEY)
    assert job_key(*KEY) == job_key(*KEY)


def test_what_earlier_versions_have_written_keeps_its_meaning() -> None:
    """These words and numbers lie in people's journals."""
    assert [state.value for state in JobState] == ["new", "uploaded", "intent", "created", "done", "failed"]
    assert [kind.value for kind in TaskKind] == [
        "image swap", "video swap", "face detection", "multiple image swap", "multiple video swap",
    ]  # fmt: skip
    assert APPLICATION_ID.to_bytes(4, "big") == b"FWJL"


def test_a_job_has_the_key_that_earlier_versions_gave_it() -> None:
    """Else a journal would know none of its jobs, and they would be paid for again."""
    key = job_key("https://api.example", TaskKind.MULTI_IMAGE_SWAP, [b"media", b"face"], [True, [0, 1]], 2)
    assert key.hex() == "b9be834f02b4b44531006b696586107a38c39dc6f21d33945fc56e9d284019e6"


@pytest.mark.parametrize(("name", "kept"), [("a\udcff", "a\udcff"), ("ä", "ä"), ("a\ud800b", "a\\ud800b")])
def test_a_name_that_no_disk_can_have_is_kept_in_words(name: str, kept: str) -> None:
    record = JobRecord(key=b"k", kind=TaskKind.IMAGE_SWAP, media="m", name=name)
    assert JobRecord.from_row(record.to_row()).name == kept


def test_a_row_of_an_earlier_version_has_no_name_and_no_source() -> None:
    record = JobRecord(key=b"k", kind=TaskKind.IMAGE_SWAP, media="m", name="n", source="/s")
    row = dict(zip(COLUMNS.split(", "), record.to_row(), strict=True)) | {"name": None, "source": None}
    read = JobRecord.from_row(tuple(row.values()))
    assert (read.name, read.source) == ("", None)
