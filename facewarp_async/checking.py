"""A job's files, looked at before anything is sent: each is what its job needs it to be."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from facewarp_async.errors import ConfigurationError, UnsupportedFormatError
from facewarp_async.files import AnyMedia, inspect
from facewarp_async.models import Asset, DetectFaces, ImageSwap, Job, MediaType, MultiFaceSwap, TaskKind, VideoSwap
from facewarp_async.urls import Location

File = AnyMedia | Asset


@frozen
class CheckedJob:
    """A job whose files were looked at.

    Attributes:
        kind: What its last task makes.
        media: The picture or video.
        faces: The faces to put in, in the order of the job's.
    """

    kind: TaskKind
    media: File
    faces: tuple[File, ...] = ()


async def check_job(job: Job) -> CheckedJob:
    """Look at a job's files.

    Raises:
        ConfigurationError: The job names no face.
        InputError: One of the files cannot be used; it names the file and what was expected.
    """
    match job:
        case ImageSwap():
            media = await _look(job.media)
            if is_video(media):
                raise UnsupportedFormatError(f"{name_of(media)}: is a video; VideoSwap (swap_video) changes those")
            return CheckedJob(TaskKind.IMAGE_SWAP, media, (await _look_at_face(job.face),))
        case VideoSwap():
            media = await _look(job.media)
            if media.media_type not in {None, MediaType.GIF} and not is_video(media):
                raise UnsupportedFormatError(f"{name_of(media)}: is a picture; ImageSwap (swap_image) changes those")
            return CheckedJob(TaskKind.VIDEO_SWAP, media, (await _look_at_face(job.face),))
        case DetectFaces():
            return CheckedJob(TaskKind.FACE_DETECTION, await _look(job.media))
        case MultiFaceSwap():
            if not job.faces:
                raise ConfigurationError("a swap of several faces names no face to put in")
            media = await _look(job.media)
            kind = TaskKind.MULTI_VIDEO_SWAP if is_video(media) else TaskKind.MULTI_IMAGE_SWAP
            return CheckedJob(kind, media, tuple([await _look_at_face(face) for face in job.faces.values()]))


async def _look(source: Location | Asset) -> File:
    return source if isinstance(source, Asset) else await inspect(source)


async def _look_at_face(source: Location | Asset) -> File:
    file = await _look(source)
    if is_video(file):
        raise UnsupportedFormatError(f"{name_of(file)}: is a video, expected a picture of the face to put in")
    return file


def name_of(file: File) -> str:
    """Return what to call a file in a message."""
    return file.key if isinstance(file, Asset) else str(file.path)


def is_video(file: File) -> bool:
    """Tell whether a file is a video, of an asset from elsewhere by its key's extension."""
    if file.media_type is not None:
        return file.media_type.is_video
    extension = PurePosixPath(file.key).suffix.lower()
    return any(media_type.is_video and media_type.extension == extension for media_type in MediaType)
