"""The work of tasks, done by the engine. Runs in worker processes; nothing else imports the engine."""

from __future__ import annotations

from functools import cache

from facewarp_async.engine import (
    EngineError,
    FaceCrop,
    SwappedImage,
    SwappedVideo,
    find_faces,
    swap_faces,
    swap_image,
    swap_video,
    swap_video_faces,
    warm_up,
)
from facewarp_async.models import TaskKind
from facewarp_async.server.work import Made, MadeFace, MadeFaces, MadeImage, MadePicture, MadeVideo, Work, WorkError

# Once in each worker: the networks are loaded, and the threads are left to the other workers.
_warm_up_once = cache(warm_up)


def run(work: Work) -> Made:
    """Do one task's work.

    Raises:
        WorkError: The engine cannot do it; the code is the engine's.
    """
    _warm_up_once()
    try:
        return _run(work)
    except EngineError as error:
        raise WorkError(error.code, error.message) from error


def _run(work: Work) -> Made:
    out = work.folder / "result"
    pairs = [(plan.landmarks, plan.face) for plan in work.pairs]
    match work.kind:
        case TaskKind.FACE_DETECTION:
            return MadeFaces(tuple(_face(crop) for crop in find_faces(work.media, work.folder)))
        case TaskKind.MULTI_IMAGE_SWAP:
            return _image(swap_faces(work.media, pairs, out, hd=work.hd))
        case TaskKind.MULTI_VIDEO_SWAP:
            return _video(swap_video_faces(work.media, pairs, out, hd=work.hd))
    if work.face is None:
        raise WorkError(400, "the face to put in is missing")
    if work.kind is TaskKind.VIDEO_SWAP:
        return _video(swap_video(work.media, work.face, out, hd=work.hd))
    return _image(swap_image(work.media, work.face, out, hd=work.hd))


def _image(image: SwappedImage) -> MadeImage:
    small = image.thumbnail
    return MadeImage(
        image=MadePicture(image.path, image.width, image.height),
        thumbnail=MadePicture(small.path, small.width, small.height),
    )


def _video(video: SwappedVideo) -> MadeVideo:
    cover, small = video.cover, video.cover_thumbnail
    return MadeVideo(
        path=video.path,
        width=video.width,
        height=video.height,
        duration_s=video.duration_s,
        cover=MadePicture(cover.path, cover.width, cover.height),
        cover_thumbnail=MadePicture(small.path, small.width, small.height),
    )


def _face(crop: FaceCrop) -> MadeFace:
    return MadeFace(
        crop=MadePicture(crop.path, crop.width, crop.height),
        keypoints=tuple((int(x), int(y)) for x, y in crop.keypoints),
        landmarks=tuple((float(x), float(y)) for x, y in crop.landmarks),
    )
