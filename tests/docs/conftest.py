"""A folder as the pages and examples expect it, and a service for them that really swaps faces."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from anyio.from_thread import start_blocking_portal

import facewarp_async
from facewarp_async.config import ApiKey
from facewarp_async.server import LocalService

PORTRAITS = Path(facewarp_async.__file__).parent / "engine" / "data" / "portraits"
Pixels = npt.NDArray[Any]


def _read(name: str) -> Pixels:
    image = cv2.imread(str(PORTRAITS / name))
    assert image is not None
    return image


def _write_clip(path: Path, image: Pixels) -> None:
    """Write a second of a portrait that does not move."""
    small = cv2.resize(image, (320, 320))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(6))
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small.astype(np.uint8), format="bgr24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def _samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    admiral, astronaut = _read("hopper.jpg"), _read("collins.png")
    heads = [cv2.resize(image, (320, 432)) for image in (admiral[0:432, 110:430], astronaut[0:270, 125:325])]
    (folder / "holiday" / "day-2").mkdir(parents=True)
    for name, image in {
        "team.jpg": admiral,
        "me.jpg": astronaut,
        "you.jpg": admiral[0:420, 90:440],
        "a.jpg": admiral,
        "b.jpg": astronaut,
        "group.jpg": np.hstack([heads[0], heads[1], heads[0][:, ::-1]]),
        "holiday/beach.jpg": admiral[0:420, 90:440],
        "holiday/day-2/boat.png": np.ascontiguousarray(admiral[:, ::-1]),
        "holiday/sunset.jpg": admiral,
    }.items():
        assert cv2.imwrite(str(folder / name), image)
    _write_clip(folder / "clip.mp4", admiral[0:512])
    (folder / "jobs.csv").write_text("media,face\nteam.jpg,me.jpg\n")
    return folder


@pytest.fixture
def folder(_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures, the clip and the list that the pages speak of; the working directory."""
    shutil.copytree(_samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def _engine_service() -> Iterator[LocalService]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(LocalService()) as service:
        yield service


@pytest.fixture
def service(_engine_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """A service that swaps faces, in a thread of its own, as the environment and the vendor's name lead to it."""
    monkeypatch.setenv("FACEWARP_PROVIDER", "local")
    monkeypatch.setenv("FACEWARP_BASE_URL", _engine_service.provider.base_url)
    monkeypatch.setenv("FACEWARP_API_KEY", _engine_service.auth.key)
    monkeypatch.setenv("FACEWARP_CACHE_DIR", "")
    # What names a vendor, and a key that is left out, is led to the service too.
    monkeypatch.setattr(facewarp_async, "VIDNOZ", _engine_service.provider)
    monkeypatch.setattr(facewarp_async, "ApiKey", lambda _key: ApiKey(_engine_service.auth.key))
    return _engine_service
