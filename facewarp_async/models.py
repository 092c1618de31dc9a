"""Jobs, assets, tasks, results: the values that callers hold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from pathlib import Path

from attrs import field, frozen

from facewarp_async.redaction import redact_url
from facewarp_async.urls import Location, RemoteFile, as_location


class MediaType(Enum):
    """The formats that the service takes, told by a file's first bytes (protocol code 703).

    Each member's value is its usual extension and whether it is a video.
    """

    JPEG = (".jpg", False)
    PNG = (".png", False)
    WEBP = (".webp", False)
    GIF = (".gif", False)
    MP4 = (".mp4", True)
    M4V = (".m4v", True)
    MOV = (".mov", True)
    WEBM = (".webm", True)

    @property
    def extension(self) -> str:
        """The usual file name extension, with its dot."""
        return self.value[0]

    @property
    def is_video(self) -> bool:
        """Whether the format is a video. GIF counts as an image."""
        return self.value[1]


@frozen
class Asset:
    """An uploaded file.

    Attributes:
        key: The service's name for it.
        media_type: Its format; ``None`` where it is not known, as with a key from elsewhere.
    """

    key: str
    media_type: MediaType | None = field(default=None, kw_only=True)


Source = str | Path | RemoteFile | Asset
"""A file of the user's, named by a path or a URL, or an asset that is uploaded already."""


def _as_file(value: Source) -> Location | Asset:
    return value if isinstance(value, Asset) else as_location(value)


def _as_faces(value: Mapping[int, Source]) -> dict[int, Location | Asset]:
    return {index: _as_file(face) for index, face in value.items()}


@frozen
class ImageSwap:
    """Put the face of `face` into the picture `media`.

    Attributes:
        media: The picture to be changed: a path, a URL such as ``s3://bucket/key``, or an asset that is uploaded
            already.
        face: The picture of the face to put in.
        hd: Whether to ask for high quality.
        name: Where the result goes below the pipeline's output folder, without extension; the media's stem if ``None``.
    """

    media: Location | Asset = field(converter=_as_file)
    face: Location | Asset = field(converter=_as_file)
    hd: bool = False
    name: str | None = field(default=None, kw_only=True)


@frozen
class VideoSwap:
    """Put the face of `face` into the video `media`. The attributes are those of `ImageSwap`."""

    media: Location | Asset = field(converter=_as_file)
    face: Location | Asset = field(converter=_as_file)
    hd: bool = False
    name: str | None = field(default=None, kw_only=True)


@frozen
class MultiFaceSwap:
    """Replace several faces of one picture or video.

    Attributes:
        media: The picture or video to be changed.
        faces: The face to put in, for each face of the media by its index as `DetectFaces` lists them.
        hd: Whether to ask for high quality.
        name: As in `ImageSwap`.
    """

    media: Location | Asset = field(converter=_as_file)
    faces: Mapping[int, Location | Asset] = field(converter=_as_faces, hash=False)
    hd: bool = False
    name: str | None = field(default=None, kw_only=True)


@frozen
class DetectFaces:
    """Find the faces in a picture or video."""

    media: Location | Asset = field(converter=_as_file)
    name: str | None = field(default=None, kw_only=True)


Job = ImageSwap | VideoSwap | MultiFaceSwap | DetectFaces
"""What a pipeline does: one picture or video, and what is to become of it."""


class TaskKind(StrEnum):
    """The five kinds of task that the service sells."""

    IMAGE_SWAP = "image swap"
    VIDEO_SWAP = "video swap"
    FACE_DETECTION = "face detection"
    MULTI_IMAGE_SWAP = "multiple image swap"
    MULTI_VIDEO_SWAP = "multiple video swap"

    @property
    def is_video(self) -> bool:
        """Whether the task works on every frame of a video."""
        return self in {TaskKind.VIDEO_SWAP, TaskKind.MULTI_VIDEO_SWAP}


class TaskStatus(Enum):
    """How far a task is. A failed task is an error and has no status."""

    WAITING = "waiting"
    PROCESSING = "processing"
    FINISHED = "finished"


@frozen(kw_only=True)
class UploadGrant:
    """Leave to upload one file: a presigned URL, valid for 30 minutes, and the key the file will have."""

    url: str = field(repr=redact_url)
    key: str


@frozen(kw_only=True)
class Picture:
    """A picture that belongs to a result, such as its thumbnail. Width and height in pixels, if they were told."""

    key: str
    url: str = field(repr=redact_url)
    width: int | None = None
    height: int | None = None


@frozen(kw_only=True)
class ImageResult:
    """The result of an image swap.

    Attributes:
        task_id: The task that made it.
        key: The result's key, from which `FaceSwapClient.access_url` makes a fresh URL.
        url: A presigned URL, valid for 3 days. Results are deleted after 7 days (the vendors' limits page).
        size: Bytes, ``None`` where not told; likewise `width` and `height`, in pixels.
        thumbnail: A small copy.
    """

    task_id: int
    key: str
    url: str = field(repr=redact_url)
    size: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: Picture | None = None


@frozen(kw_only=True)
class VideoResult:
    """The result of a video swap: as `ImageResult`, with its duration in seconds and a picture to show for it."""

    task_id: int
    key: str
    url: str = field(repr=redact_url)
    size: int | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    cover: Picture | None = None
    cover_thumbnail: Picture | None = None


@frozen
class Point:
    """A place in a picture, in pixels from its upper left corner."""

    x: float
    y: float


@frozen(kw_only=True)
class Face:
    """A face that was found.

    Attributes:
        kps: Left eye, right eye, nose, left and right corner of the mouth, in pixels of the crop.
        key: The crop's key, which names this face in a multiple swap.
        url: A presigned URL of the crop.
        size: Bytes of the crop; `width` and `height` in pixels; ``None`` where not told.
    """

    kps: tuple[Point, ...]
    key: str
    url: str = field(repr=redact_url)
    size: int | None = None
    width: int | None = None
    height: int | None = None


@frozen(kw_only=True)
class FaceDetection:
    """The faces found in a picture or video, in the service's order; none is a result too."""

    task_id: int
    faces: tuple[Face, ...]


SwapResult = ImageResult | VideoResult
"""What a swap makes."""

Result = ImageResult | VideoResult | FaceDetection
"""What a job of any kind makes."""


@frozen(kw_only=True)
class Task:
    """One look at a task.

    Attributes:
        id: The service's number for it.
        status: How far it is.
        message: What the service says of it, often empty.
        result: What it made, ``None`` until it is finished (and for a moment after that, as the vendors' pages show).
    """

    id: int
    status: TaskStatus
    message: str = ""
    result: Result | None = None


@frozen(kw_only=True)
class AccessToken:
    """A token from the token call.

    Attributes:
        value: What goes behind ``Bearer``.
        expires_in_s: Seconds that it lives from the moment it was given.
    """

    value: str = field(repr=lambda _: "'***'")
    expires_in_s: float
