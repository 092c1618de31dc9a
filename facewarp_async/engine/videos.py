"""Clips in, clips out: the tasks on videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import av

from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips import Clip, ClipWriter, Frame, Samples, open_clip, read_frames
from facewarp_async.engine.errors import NO_FACE, EngineError
from facewarp_async.engine.face import Face, nearest_face
from facewarp_async.engine.files import atomic_path
from facewarp_async.engine.finder import local_finder, pick_single
from facewarp_async.engine.images import read_source, typed_failures
from facewarp_async.engine.media import Picture
from facewarp_async.engine.results import write_picture, write_thumbnail
from facewarp_async.engine.swap import FAST, HD, Source, swap_face
from facewarp_async.engine.track import MEMORY_S, Tracked, Tracker
from facewarp_async.engine.values import Landmarks, SwappedVideo, Thumbnail

_COVER_QUALITY = 90

Choice: TypeAlias = Callable[[Frame, list[Tracked]], list[tuple[Face, Source]]]
"""Says for each frame which of its faces become whose."""


def swap_video(media: Path, face: Path, out: Path, *, hd: bool = False) -> SwappedVideo:
    """Replace the face in a clip.

    The face is the one in the first frame that shows any; when it is lost, the largest of those that follow takes its
    place. The other faces stay as they are.

    Args:
        media: The clip: MP4, M4V, MOV, WEBM, GIF or an animated WEBP.
        face: The picture of the face to put in.
        out: A stem: the clip is written beside it as `.mp4`, its cover as `…_cover.jpg` and `…_cover_thumbnail.jpg`.
        hd: Work at full resolution and encode finer.

    Raises:
        EngineError: 602 no face, 603 several in the first frame that shows any, or in the picture of the face; 701
            unreadable, 703 not a supported clip, 704 too large or too long; 601 anything else. No file stays then.
    """
    with typed_failures(), open_clip(media) as clip:
        chosen = _MainFace(read_source(face))
        return _swap_clip(clip, out, chosen, hd=hd)


def swap_video_faces(
    media: Path, pairs: Sequence[tuple[Landmarks, Path]], out: Path, *, hd: bool = False
) -> SwappedVideo:
    """Replace several faces in a clip, each followed from where it was found.

    Args:
        media: The clip.
        pairs: The landmarks of a face in it, as `find_faces` gave them, and the picture of the face to put there. Where
            two pairs name one face, the later one counts.
        out: A stem, as for `swap_video`.
        hd: As for `swap_video`.

    Raises:
        EngineError: 602 no face near the landmarks, or none in a picture of a face; the rest as for `swap_video`.
    """
    with typed_failures():
        with open_clip(media) as clip:
            named = _NamedFaces(pairs, Samples(clip))
            _survey(clip, named)
        with open_clip(media) as clip:
            named.restart(Samples(clip))
            return _swap_clip(clip, out, named, hd=hd)


class _MainFace:
    """Chooses the one face of a clip."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._track: int | None = None
        self._seen_s = 0.0
        self._bystanders: set[int] = set()

    def __call__(self, frame: Frame, tracked: list[Tracked]) -> list[tuple[Face, Source]]:
        faces = {item.track: item.face for item in tracked}
        if faces and self._track is None:
            main = pick_single(list(faces.values()), where="video")
            self._track = next(track for track, face in faces.items() if face is main)
        elif self._track not in faces:
            self._track = self._successor(faces, frame.time_s)
        if self._track not in faces:
            return []
        self._seen_s = frame.time_s
        self._bystanders.update(faces.keys() - {self._track})
        return [(faces[self._track], self._source)]

    def _successor(self, faces: dict[int, Face], time_s: float) -> int | None:
        """Say who is meant when the face is gone: for a while nobody who was seen beside it."""
        if time_s - self._seen_s < MEMORY_S:
            faces = {track: face for track, face in faces.items() if track not in self._bystanders}
        return max(faces, key=lambda track: faces[track].size, default=self._track)


class _NamedFaces:
    """Chooses the faces that landmarks name, wherever they go once they have been seen there."""

    def __init__(self, pairs: Sequence[tuple[Landmarks, Path]], samples: Samples) -> None:
        self._landmarks = [landmarks for landmarks, _ in pairs]
        self._sources = [read_source(face) for _, face in pairs]
        self._tracks: dict[int, int] = {}
        self._met: set[int] = set()
        self._samples = samples

    @property
    def is_complete(self) -> bool:
        """Whether each of the landmarks has met a face."""
        return len(self._met) == len(self._sources)

    def restart(self, samples: Samples) -> None:
        """Keep what has been learnt for reading the clip again: the tracks will have the same numbers."""
        self._samples = samples

    def __call__(self, frame: Frame, tracked: list[Tracked]) -> list[tuple[Face, Source]]:
        if self._samples.is_due(frame):
            faces = [item.face for item in tracked]
            for number, landmarks in enumerate(self._landmarks):
                index = nearest_face(faces, landmarks)
                if index is not None:
                    self._met.add(number)
                    track = tracked[index].track
                    self._tracks[track] = max(number, self._tracks.get(track, 0))
        return [(item.face, self._sources[self._tracks[item.track]]) for item in tracked if item.track in self._tracks]


def _survey(clip: Clip, named: _NamedFaces) -> None:
    """Follow the faces until each of the named ones has been met.

    In most clips that is so in the first frame. Otherwise a face would stay as it is until the sample that named it.

    Raises:
        EngineError: 602 where one is never met.
    """
    tracker = Tracker(local_finder())
    for frame in read_frames(clip):
        named(frame, tracker.step(frame.planes().to_picture(), frame.time_s))
        if named.is_complete:
            return
    raise EngineError(NO_FACE, "no face in the video at a given place")


def _swap_clip(clip: Clip, out: Path, choose: Choice, *, hd: bool) -> SwappedVideo:
    """Decode, follow, paint and encode frame by frame, so that memory does not grow with the clip."""
    tracker = Tracker(local_finder())
    path = out.with_name(out.name + ".mp4")
    cover: Pixels | None = None
    with atomic_path(path) as temporary:
        with ClipWriter(temporary, clip, hd=hd) as writer:
            for item in clip.read():
                if not isinstance(item, Frame):
                    writer.write_sound(item)
                    continue
                planes = item.planes()
                image = planes.to_picture()
                jobs = choose(item, tracker.step(image, item.time_s))
                boxes = [swap_face(image, face, source, HD if hd else FAST, image) for face, source in jobs]
                for box in boxes:
                    if box is not None:
                        planes.put(image, box)
                        cover = image if cover is None else cover
                writer.write(item, planes)
            if cover is None:
                raise EngineError(NO_FACE, "no face in the video")
            writer.finish()
        return _describe(temporary, path, cover, out)


def _describe(temporary: Path, path: Path, cover: Pixels, out: Path) -> SwappedVideo:
    """Write the cover and measure the finished clip, which gets its name right after."""
    with av.open(str(temporary), "r", format="mp4") as container:
        duration_s = (container.duration or 0) / av.time_base
    picture = Picture(colour=cover, is_jpeg=True)
    cover_path, _ = write_picture(picture, out.with_name(out.name + "_cover"), quality=_COVER_QUALITY)
    try:
        thumbnail = write_thumbnail(picture, out.with_name(out.name + "_cover_thumbnail"))
    except BaseException:
        cover_path.unlink(missing_ok=True)
        raise
    height, width = cover.shape[:2]
    return SwappedVideo(
        path=path,
        width=width,
        height=height,
        size=temporary.stat().st_size,
        duration_s=duration_s,
        cover=Thumbnail(path=cover_path, width=width, height=height),
        cover_thumbnail=thumbnail,
    )
