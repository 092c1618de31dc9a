"""Clips in, clips out: the tasks on videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facewarp_async.engine.errors import UNSUPPORTED_FORMAT, EngineError
from facewarp_async.engine.values import Landmarks, SwappedVideo


def swap_video(media: Path, face: Path, out: Path, *, hd: bool = False) -> SwappedVideo:  # noqa: ARG001  # to come
    """Replace the face in a clip."""
    raise EngineError(UNSUPPORTED_FORMAT, "this engine does not change videos yet")


def swap_video_faces(
    media: Path,  # noqa: ARG001  # to come
    pairs: Sequence[tuple[Landmarks, Path]],  # noqa: ARG001  # to come
    out: Path,  # noqa: ARG001  # to come
    *,
    hd: bool = False,  # noqa: ARG001  # to come
) -> SwappedVideo:
    """Replace several faces in a clip."""
    raise EngineError(UNSUPPORTED_FORMAT, "this engine does not change videos yet")
