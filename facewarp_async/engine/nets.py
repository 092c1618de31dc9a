"""Loading and running the three networks with OpenCV's own dnn module."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import cv2

from facewarp_async.engine.arrays import Floats, as_floats


def load_net(name: str) -> cv2.dnn.Net:
    """Load a network of the package's data folder; it must not be shared between threads, as it keeps its buffers."""
    models = resources.files(__package__) / "data" / "models"
    with resources.as_file(models / name) as path:
        # OpenCV 5's new engine drops all outputs of a .tflite file but one, and the overload that reads from memory
        # ignores the choice of engine: hence by path and with the classic one. OpenCV 4 knows no other.
        classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        return cv2.dnn.readNetFromTFLite(str(path), *(() if classic is None else (classic,)))


def run_net(net: cv2.dnn.Net, blob: Floats, outputs: Sequence[str]) -> list[Floats]:
    """Run a network on one blob and give the named outputs in their order."""
    net.setInput(blob)
    return [as_floats(output) for output in net.forward(list(outputs))]
