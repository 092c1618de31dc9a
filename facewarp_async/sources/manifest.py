"""Jobs from a manifest: a file that lists media and faces, as CSV or as a JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen

from facewarp_async.models import Asset, ImageSwap, MultiFaceSwap, Source, VideoSwap
from facewarp_async.sources.lazy import LazyJobs, is_video_file
from facewarp_async.sources.rows import Row, read_rows
from facewarp_async.urls import Location, RemoteFile, as_location, is_url

ManifestJob = ImageSwap | VideoSwap | MultiFaceSwap

_TRUE, _FALSE = {"true", "yes", "1"}, {"false", "no", "0"}
_MOST_DIGITS = 9
_KINDS = ("image", "video", "multi")


class ManifestJobs(LazyJobs[ManifestJob]):
    """The jobs of a manifest, in its order, read while they are asked for.

    With ``async for`` the manifest is read in a thread; with ``for`` it is read in place.
    """

    def __init__(self, path: Location, face: Location | Asset | None, *, hd: bool) -> None:
        self._path = path
        self._face = face
        self._hd = hd

    def __iter__(self) -> Iterator[ManifestJob]:
        for row in read_rows(self._path):
            yield _Reader(row, self._path.parent, self._face, hd=self._hd).job()


@frozen
class _Reader:
    """Makes a job of a row.

    Attributes:
        row: The row.
        folder: What its paths are relative to.
        face: For rows that name none.
        hd: For rows that do not say.
    """

    row: Row
    folder: Location
    face: Location | Asset | None
    hd: bool

    def job(self) -> ManifestJob:
        media = self._path("media", self.row.values.get("media"))
        faces, face = self._faces(), self.row.values.get("face")
        kind = self._kind()
        if faces is not None:
            if face:
                raise self.row.error("face", "is given beside faces: expected one of the two")
            if kind not in {None, "multi"}:
                raise self.row.error("kind", f"is {kind!r}, and faces are named: expected multi")
            return MultiFaceSwap(media, faces, self._hd(), name=self._name(media))
        if kind == "multi":
            raise self.row.error("faces", "is missing: expected the face for each index, such as 0=a.jpg;2=b.jpg")
        if not face and self.face is None:
            raise self.row.error("face", "is missing, and there is no face for all")
        is_video = kind == "video" if kind else is_video_file(media)
        swap = VideoSwap if is_video else ImageSwap
        one = self._path("face", face) if face or self.face is None else self.face
        return swap(media, one, self._hd(), name=self._name(media))

    def _path(self, column: str, value: Any) -> Location:
        if not value:
            raise self.row.error(column, "is missing: expected a path or a URL")
        if not isinstance(value, str):
            raise self.row.error(column, f"is {value!r}: expected a path or a URL")
        if is_url(value):
            return as_location(value)
        if isinstance(self.folder, RemoteFile):
            return Path(value) if value.startswith("/") else self.folder.led_to(value)
        return self.folder / value

    def _kind(self) -> str | None:
        kind = self.row.values.get("kind") or None
        if kind is not None and kind not in _KINDS:
            raise self.row.error("kind", f"is {kind!r}: expected {', '.join(_KINDS)}, or nothing")
        return kind

    def _hd(self) -> bool:
        value = self.row.values.get("hd")
        if value is None or value == "":
            return self.hd
        word = str(value).lower()
        if word not in _TRUE | _FALSE:
            raise self.row.error("hd", f"is {value!r}: expected true or false")
        return word in _TRUE

    def _name(self, media: Location) -> str:
        name = self.row.values.get("name")
        if name is not None and not isinstance(name, str):
            raise self.row.error("name", f"is {name!r}: expected a text")
        if name:
            return name
        below = PurePosixPath(self._below(media))
        return below.with_suffix("").as_posix() if below.name else ""

    def _below(self, media: Location) -> str:
        """Return the way to the media from the manifest's folder; its name alone where it does not lie there."""
        if isinstance(media, RemoteFile):
            below = media.below(self.folder) if isinstance(self.folder, RemoteFile) else None
            return below or media.name
        if isinstance(self.folder, Path) and media.is_relative_to(self.folder):
            return media.relative_to(self.folder).as_posix()
        return media.name

    def _faces(self) -> dict[int, Location] | None:
        value = self.row.values.get("faces")
        if not value:
            return None
        if isinstance(value, str):
            value = dict(self._pair(part) for part in value.split(";") if part.strip())
        if not isinstance(value, Mapping) or not value:
            raise self.row.error("faces", f"is {value!r}: expected an object of indices and paths")
        return {self._index(index): self._path("faces", path) for index, path in value.items()}

    def _pair(self, text: str) -> tuple[str, str]:
        index, separator, path = text.partition("=")
        if not separator:
            raise self.row.error("faces", f"holds {text!r}: expected an index, = and a path, such as 0=a.jpg;2=b.jpg")
        return index, path.strip()

    def _index(self, text: str) -> int:
        if not text.strip().isdecimal() or len(text) > _MOST_DIGITS:
            raise self.row.error("faces", f"names a face {text!r}: expected its index, counted from 0")
        return int(text)


def jobs_from_manifest(path: str | Location, *, face: Source | None = None, hd: bool = False) -> ManifestJobs:
    """Return a job for each row of a manifest.

    A manifest is CSV in UTF-8 with a header, separated by commas, semicolons or tabs, or JSON lines with an object in
    each. Its columns, of which only ``media`` must be there:

    - ``media``: the picture or video to change: a URL, or a path, which is relative to the manifest's folder.
    - ``face``: the picture of the face to put in; or
    - ``faces``: several of them, each with the index of the face it is for: ``0=a.jpg;2=b.jpg``, in JSON an object.
    - ``kind``: ``image``, ``video`` or ``multi``; without it the file and the faces tell.
    - ``hd``: ``true`` or ``false``.
    - ``name``: where the result goes below the output folder, without extension; the media's path without it.

    Args:
        path: The manifest: a path, or a URL.
        face: The face for rows that name none.
        hd: Whether to ask for high quality in rows that do not say.

    Raises:
        InputError: While it is read: it is damaged, or a row cannot be meant. The line and the column are named.
        MissingFileError: It cannot be read.
    """
    for_all = face if face is None or isinstance(face, Asset) else as_location(face)
    return ManifestJobs(as_location(path), for_all, hd=hd)
