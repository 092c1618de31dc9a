"""The local face engine: swaps faces in pictures and clips on the CPU, synchronously.

It needs the extra `local` (OpenCV, numpy, PyAV) and imports nothing of the rest of the package. The functions may be
called from any number of threads or processes; `warm_up` is for worker processes.
"""

from __future__ import annotations

from pathlib import Path

import cv2

from facewarp_async.engine.errors import EngineError
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.images import find_picture_faces, swap_faces, swap_image
from facewarp_async.engine.values import FaceCrop, Landmarks, SwappedImage, SwappedVideo, Thumbnail
from facewarp_async.engine.videos import swap_video, swap_video_faces

__all__ = [
    "EngineError",
    "FaceCrop",
    "Landmarks",
    "SwappedImage",
    "SwappedVideo",
    "Thumbnail",
    "find_faces",
    "swap_faces",
    "swap_image",
    "swap_video",
    "swap_video_faces",
    "warm_up",
]


def warm_up() -> None:
    """Load the networks for the running thread and keep OpenCV to one thread; call it once in each worker process."""
    cv2.setNumThreads(1)
    local_finder()


def find_faces(media: Path, out_dir: Path) -> list[FaceCrop]:
    """Find the faces of a medium and write a crop of each into a folder.

    Args:
        media: A picture or a clip; of a clip several frames are looked at.
        out_dir: An existing folder; the crops are named `face-00.png` and so on.

    Returns:
        One entry a face, ordered from left to right; an empty list where there is none.

    Raises:
        EngineError: 701 unreadable, 703 not a supported format, 704 too large; 601 anything else. No file stays then.
    """
    return find_picture_faces(media, out_dir)
