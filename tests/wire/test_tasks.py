"""Reading what answers say of tasks and their results."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facewarp_async.errors import FaceWarpError, MalformedAnswerError, NoFaceError, Recovery, TaskFailedError
from facewarp_async.models import FaceDetection, ImageResult, Picture, Point, TaskKind, TaskStatus, VideoResult
from facewarp_async.wire.answers import Answer, parse_created, parse_task
from tests.wire.samples import SAMPLES, answer, detail


def test_the_vendors_create_and_waiting_samples_parse() -> None:
    assert parse_created(Answer(status=200, body=json.dumps(SAMPLES["face-swap"]).encode())) == 1
    task = parse_task(Answer(status=200, body=json.dumps(SAMPLES["detail"]).encode()), task_id=106927142)
    assert task.status is TaskStatus.FINISHED
    assert task.result is None


def test_the_vendors_image_sample_parses() -> None:
    result = parse_task(detail(SAMPLES["image-swap-result"]), task_id=7, kind=TaskKind.IMAGE_SWAP).result
    assert isinstance(result, ImageResult)
    assert (result.size, result.width, result.height) == (678609, 512, 768)
    assert result.thumbnail is not None
    assert (result.thumbnail.width, result.thumbnail.height) == (1080, 540)


def test_the_vendors_video_sample_parses() -> None:
    result = parse_task(detail(SAMPLES["video-swap-result"]), task_id=7, kind=TaskKind.VIDEO_SWAP).result
    assert isinstance(result, VideoResult)
    assert (result.duration_s, result.width, result.height) == (12.746067, 1080, 554)
    assert result.cover is not None
    assert result.cover_thumbnail is not None
    assert result.cover_thumbnail.key.endswith("5edf1004c18e.png")


def test_the_vendors_face_sample_parses() -> None:
    result = parse_task(detail(SAMPLES["get-face-result"]), task_id=7, kind=TaskKind.FACE_DETECTION).result
    assert isinstance(result, FaceDetection)
    assert [face.width for face in result.faces] == [87, 93]
    assert result.faces[0].kps == (Point(27, 45), Point(67, 45), Point(49, 75), Point(24, 84), Point(65, 85))


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("image-swap-result", ImageResult),
        ("multiple-image-swap-result", ImageResult),
        ("video-swap-result", VideoResult),
        ("multiple-video-swap-result", VideoResult),
        ("get-face-result", FaceDetection),
    ],
)
def test_the_kind_of_a_result_is_told_by_its_fields(name: str, cls: type) -> None:
    assert isinstance(parse_task(detail(SAMPLES[name]), task_id=7).result, cls)


@pytest.mark.parametrize(
    ("extra", "cls"), [({}, ImageResult), ({"duration": 1}, VideoResult), ({"cover_key": "c"}, VideoResult)]
)
def test_a_video_is_told_by_any_field_that_only_videos_have(extra: dict[str, Any], cls: type) -> None:
    assert type(parse_task(detail({"merge_key": "k", "merge_url": "u"} | extra), task_id=7).result) is cls


@pytest.mark.parametrize("empty", [None, {}])
def test_a_detection_that_has_no_list_yet_has_no_result(empty: Any) -> None:
    assert parse_task(detail(empty), task_id=7, kind=TaskKind.FACE_DETECTION).result is None


@pytest.mark.parametrize("missing", ["thumbnail_key", "thumbnail_url"])
def test_a_picture_without_key_or_url_is_none(missing: str) -> None:
    data = {"merge_key": "k", "merge_url": "u", "thumbnail_key": "t", "thumbnail_url": "tu", "thumbnail_width": 2}
    result = parse_task(detail(data), task_id=7).result
    assert isinstance(result, ImageResult)
    assert result.thumbnail == Picture(key="t", url="tu", width=2, height=None)
    result = parse_task(detail(data | {missing: ""}), task_id=7).result
    assert isinstance(result, ImageResult)
    assert result.thumbnail is None


def test_a_failed_task_code_keeps_the_tasks_id() -> None:
    with pytest.raises(NoFaceError) as caught:
        parse_task(answer([], code=602, message="no face"), task_id=7)
    assert caught.value.task_id == 7
    assert caught.value.paid is True


def test_an_answer_for_another_task_is_malformed() -> None:
    """Its result would be another job's. An answer that names no task is taken, and one that names it by a string."""
    for status in (0, 1, 3):
        with pytest.raises(MalformedAnswerError, match="for another task, 7") as caught:
            parse_task(detail({}, status=status, message="broken"), task_id=8)
        assert (caught.value.task_id, caught.value.recovery) == (8, Recovery.REPEAT)
    for own in ({"status": 1}, {"status": 1, "id": None}, {"status": 1, "id": "8"}):
        assert parse_task(answer(own), task_id=8).id == 8


def test_a_finished_task_with_a_message_and_no_result_has_failed() -> None:
    with pytest.raises(TaskFailedError, match="out of memory") as caught:
        parse_task(detail({}, message="out of memory"), task_id=7, kind=TaskKind.IMAGE_SWAP)
    assert caught.value.task_id == 7


@pytest.mark.parametrize("status", [3, -3, 99, "4"])
def test_an_unknown_status_is_a_failure(status: Any) -> None:
    with pytest.raises(TaskFailedError, match=str(status)):
        parse_task(detail({}, status=status), task_id=7)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(1, TaskStatus.WAITING), ("-1", TaskStatus.WAITING), (2, TaskStatus.PROCESSING), (-2.0, TaskStatus.PROCESSING)],
)
def test_both_ways_to_say_waiting_and_processing_are_understood(status: Any, expected: TaskStatus) -> None:
    assert parse_task(detail(None, status=status), task_id=7).status is expected


@pytest.mark.parametrize("empty", [None, {}, []])
def test_a_finished_swap_may_be_without_its_result_for_a_moment(empty: Any) -> None:
    task = parse_task(detail(empty), task_id=7, kind=TaskKind.IMAGE_SWAP)
    assert (task.status, task.result) == (TaskStatus.FINISHED, None)


def test_no_faces_is_a_result() -> None:
    assert parse_task(detail([]), task_id=7, kind=TaskKind.FACE_DETECTION).result == FaceDetection(task_id=7, faces=())


def test_numbers_and_strings_stand_for_each_other() -> None:
    data = {"merge_key": 12, "merge_url": "https://x/y", "size": "678609", "width": 512.0, "height": "", "new": [1]}
    result = parse_task(detail(data), task_id=7).result
    assert isinstance(result, ImageResult)
    assert (result.key, result.size, result.width, result.height) == ("12", 678609, 512, None)


@pytest.mark.parametrize(
    ("value", "name"),
    [(False, "a boolean"), (5, "a number"), ("", "a string"), ("faces", "a string"), ({"0": {}}, "an object")],
)
def test_faces_that_are_no_list_are_an_answer_that_cannot_be_read(value: Any, name: str) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        parse_task(answer({"status": 0, "additional_data": value}), task_id=1, kind=TaskKind.FACE_DETECTION)
    assert f"expected a list, got {name} @ $.data.additional_data" in caught.value.message
    assert caught.value.task_id == 1


def test_points_are_in_the_order_of_their_numbers() -> None:
    kps = {name: {"x": x, "y": 0} for x, name in enumerate(["10", "b", "2", "a", "1"])}
    face = {"kps": kps, "avatar_part_key": "k", "avatar_part_url": "u"}
    result = parse_task(detail([face]), task_id=7).result
    assert isinstance(result, FaceDetection)
    assert [point.x for point in result.faces[0].kps] == [3, 1, 4, 2, 0], "a, b, 1, 2, 10"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "additional_data", "merge_key", "merge_url", "kps", "1", "x", "y", "message"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([None, *TaskKind]))
@example({"status": 0, "additional_data": False}, TaskKind.FACE_DETECTION)
def test_any_task_document_is_a_task_or_a_typed_error(data: Any, kind: TaskKind | None) -> None:
    try:
        named = parse_task(answer(data), task_id=7, kind=kind).id
    except FaceWarpError as error:
        named = error.task_id or 0
    assert named == 7
