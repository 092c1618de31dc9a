"""The local face engine: swaps faces in pictures and clips on the CPU, synchronously.

It needs the extra `local` (OpenCV, numpy, PyAV) and imports nothing of the rest of the package. The functions may be
called from any number of threads or processes; `warm_up` is for worker processes.
"""

from __future__ import annotations

import cv2

from facewarp_async.engine.errors import EngineError
from facewarp_async.engine.find import find_faces
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.images import swap_faces, swap_image
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
