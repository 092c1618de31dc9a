"""The work of tasks, done by the engine as a worker process has it done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facewarp_async.engine.arrays import Pixels
from facewarp_async.models import TaskKind
from facewarp_async.server.engine_work import run
from facewarp_async.server.work import (
    FacePlan,
    MadeFaces,
    MadeImage,
    MadePicture,
    MadeVideo,
    Work,
    WorkError,
    dump_made,
    load_made,
)

pytestmark = pytest.mark.slow


def size_of(picture: MadePicture) -> tuple[int, int]:
    image = cv2.imread(str(picture.path))
    assert image is not None
    return image.shape[1], image.shape[0]


def test_each_kind_of_work_makes_what_it_says(
    collins_path: Path,
    hopper_path: Path,
    folder: Path,
    make_clip: Callable[..., Path],
    collins: Pixels,
) -> None:
    clip = make_clip("a.mp4", [collins] * 3)
    found = run(Work(kind=TaskKind.FACE_DETECTION, media=collins_path, folder=folder))
    assert isinstance(found, MadeFaces)
    (face,) = found.faces
    assert size_of(face.crop) == (face.crop.width, face.crop.height)
    assert len(face.keypoints) == len(face.landmarks) == 5
    seen = run(Work(kind=TaskKind.FACE_DETECTION, media=clip, folder=folder))
    assert isinstance(seen, MadeFaces)
    assert len(seen.faces) == 1
    for kind, media, landmarks in (
        (TaskKind.IMAGE_SWAP, collins_path, None),
        (TaskKind.MULTI_IMAGE_SWAP, collins_path, face.landmarks),
        (TaskKind.VIDEO_SWAP, clip, None),
        (TaskKind.MULTI_VIDEO_SWAP, clip, seen.faces[0].landmarks),
    ):
        pairs = () if landmarks is None else (FacePlan(landmarks, hopper_path),)
        made = run(Work(kind=kind, media=media, face=hopper_path, pairs=pairs, folder=folder))
        assert load_made(dump_made(made)) == made
        if kind.is_video:
            assert isinstance(made, MadeVideo)
            assert (made.width, made.height) == (512, 512) == size_of(made.cover)
            assert made.path.stat().st_size > 1000
            assert size_of(made.cover_thumbnail) == (made.cover_thumbnail.width, made.cover_thumbnail.height)
        else:
            assert isinstance(made, MadeImage)
            assert size_of(made.image) == (made.image.width, made.image.height) == (512, 512)
            assert size_of(made.thumbnail) == (made.thumbnail.width, made.thumbnail.height)


def test_what_the_engine_cannot_do_has_its_code(
    collins_path: Path, folder: Path, save_picture: Callable[..., Path]
) -> None:
    empty = save_picture("empty.png", np.full((200, 300, 3), 128, np.uint8))
    with pytest.raises(WorkError) as caught:
        run(Work(kind=TaskKind.IMAGE_SWAP, media=empty, face=collins_path, folder=folder))
    assert caught.value.code == 602
    with pytest.raises(WorkError) as caught:
        run(Work(kind=TaskKind.IMAGE_SWAP, media=collins_path, folder=folder))
    assert (caught.value.code, caught.value.message) == (400, "the face to put in is missing")
