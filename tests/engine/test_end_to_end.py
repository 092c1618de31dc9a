"""The engine behind the local service: from the client's call to the file that it downloads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
import av
import cv2
import numpy as np
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import PairOrder
from facewarp_async.engine.arrays import Pixels, as_pixels
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.swap import Source
from facewarp_async.errors import (
    FaceWarpError,
    MultipleFacesError,
    NoFaceError,
    TaskFailedError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.models import ImageResult, VideoResult
from facewarp_async.server import LocalService
from facewarp_async.server.runners import ENGINE_TARGET
from tests.engine.decoded import decode_picture
from tests.engine.units import eye_distance

if TYPE_CHECKING:
    from .conftest import Measures, Save, SavePicture

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeClip = Callable[..., Path]
MakeClient = Callable[..., FaceSwapClient]
Moving = Callable[..., list[Pixels]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
async def local(data_dir: Path) -> AsyncIterator[LocalService]:
    """The service with the real engine, one for all tests; the fixture `client` is a client of it."""
    async with LocalService(data_dir=data_dir, workers=1) as service:
        yield service


def frames_of(path: Path) -> list[Pixels]:
    """The frames of a clip, or a picture as the only one."""
    if path.suffix == ".png":
        return [decode_picture(path)]
    with av.open(str(path)) as container:
        return [as_pixels(frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


def tone_of(path: Path) -> tuple[float, float]:
    """How long the sound of a clip is, in seconds, and its loudest frequency in hertz."""
    mono = av.AudioResampler("flt", "mono", 48000)
    with av.open(str(path)) as container:
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in mono.resample(frame)]
    wave = np.concatenate(parts)
    return len(wave) / 48000, float(np.abs(np.fft.rfft(wave)).argmax() * 48000 / len(wave))


def stray_files(data_dir: Path) -> list[Path]:
    """What is in the data directory of tasks that have ended."""
    return [path for path in (data_dir / "parts").rglob("*") if path.is_file()]


def kept_files(data_dir: Path) -> int:
    """How many uploads and results the data directory holds."""
    return sum(path.is_file() for path in (data_dir / "blobs").rglob("*"))


def workers() -> set[int]:
    """The engine's processes that this process has started and that have not ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it ended just now
            continue
        if parent == os.getpid() and ENGINE_TARGET.encode() in command:
            found.add(int(folder.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"sound": "aac"}),
        ("a.mov", {"sound": "pcm_s16le"}),
        ("a.webm", {"sound": "libopus", "codec": "libvpx", "options": {"b": "1M"}}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
    ids=["mp4", "mov", "webm", "gif"],
)
async def test_clip_is_swapped_and_the_result_tells_the_truth(
    client: FaceSwapClient,
    make_clip: MakeClip,
    moving: Moving,
    hopper: Pixels,
    hopper_source: Source,
    collins_path: Path,
    collins_source: Source,
    measures: Measures,
    data_dir: Path,
    folder: Path,
    name: str,
    options: dict[str, str],
) -> None:
    medium, kept = make_clip(name, moving(hopper, frames=10, size=(560, 420)), **options), kept_files(data_dir)
    result = await client.swap_video(medium, collins_path)
    assert None not in [getattr(result, field.name) for field in attrs.fields(VideoResult)]
    path = await client.download(result, folder / "r.mp4")
    changed, before = frames_of(path), frames_of(medium)
    assert len(changed) == len(before) == 10
    assert result.size == path.stat().st_size
    assert (result.width, result.height) == changed[0].shape[1::-1] == before[0].shape[1::-1]
    with av.open(str(path)) as container:
        assert result.duration_s == pytest.approx((container.duration or 0) / av.time_base, abs=1e-3)
    assert result.duration_s == pytest.approx(0.4, abs=0.03)
    for image, original in zip(changed, before, strict=True):
        (face,) = local_finder().find(original)
        assert measures.changed_share(image, original, face) > 0.1
    (face,) = local_finder().find(changed[5])
    new = measures.likeness(changed[5], face, collins_source.image, collins_source.face)
    old = measures.likeness(changed[5], face, hopper_source.image, hopper_source.face)
    print("likeness", new, "to the old face", old)
    assert new > old
    if "sound" in options:
        seconds, hertz = tone_of(path)
        assert seconds == pytest.approx(tone_of(medium)[0], abs=0.07)
        assert hertz == pytest.approx(440, abs=5)
    for picture, size in ((result.cover, (560, 420)), (result.cover_thumbnail, (540, 405))):
        assert picture is not None
        cover = cv2.imread(str(await client.download(picture, folder / "cover.jpg")))
        assert cover is not None
        assert (picture.width, picture.height) == cover.shape[1::-1] == size
        whole = cv2.resize(cover, (560, 420)).astype(int)
        distances = [np.abs(whole - image).mean() for image in changed]
        assert distances[0] == min(distances) < 0.5 * distances[9]
    # Medium, face, result and two covers.
    assert (stray_files(data_dir), kept_files(data_dir)) == ([], kept + 5)


@pytest.fixture(params=["picture", "clip"])
def crowd(request: pytest.FixtureRequest, group_path: Path, make_clip: MakeClip, pair_frames: list[Pixels]) -> Path:
    """Four people in a picture, or two in a clip."""
    return group_path if request.param == "picture" else make_clip("pair.mp4", pair_frames)


async def test_crops_of_the_faces_come_with_their_points(client: FaceSwapClient, crowd: Path, folder: Path) -> None:
    detection = await client.detect_faces(crowd)
    assert len(detection.faces) == (4 if crowd.suffix == ".png" else 2)
    for number, face in enumerate(detection.faces):
        path = await client.download(face, folder / f"{number}.png")
        (crop,) = frames_of(path)
        assert (face.width, face.height, face.size) == (*crop.shape[1::-1], path.stat().st_size)
        (found,) = local_finder().find(crop)
        points = np.array([(point.x, point.y) for point in face.kps])
        assert np.abs(points - found.landmarks).max() < 0.15 * eye_distance(found)


async def test_only_the_named_faces_change_however_a_pair_is_read(
    local: LocalService,
    client: FaceSwapClient,
    make_client: MakeClient,
    crowd: Path,
    collins_path: Path,
    hopper_path: Path,
    measures: Measures,
    folder: Path,
) -> None:
    """The local service tells the two readings of the vendors' pages apart by the crops' keys."""
    is_picture = crowd.suffix == ".png"
    named = {0: hopper_path, 3: collins_path} if is_picture else {0: collins_path}
    assert local.provider.pair_order is PairOrder.TABLES
    provider = attrs.evolve(local.provider, pair_order=PairOrder.SAMPLES)
    results = []
    async with make_client(provider, local.auth) as other:
        for number, asked in enumerate((client, other)):
            result = await asked.swap_faces(crowd, named)
            assert isinstance(result, ImageResult if is_picture else VideoResult)
            results.append(frames_of(await asked.download(result, folder / f"{number}{crowd.suffix}")))
    for original, image, same in zip(frames_of(crowd), *results, strict=True):
        faces = local_finder().find(original)
        shares = [measures.changed_share(image, original, face) for face in faces]
        assert [share > 0.1 for share in shares] == [number in named for number in range(len(faces))]
        assert all(share < 0.01 for number, share in enumerate(shares) if number not in named)
        # x264 does not give the same bytes each time.
        assert np.abs(image.astype(int) - same).mean() < (1e-9 if is_picture else 1)


async def test_each_failure_arrives_as_its_error(
    client: FaceSwapClient,
    make_clip: MakeClip,
    moving: Moving,
    hopper: Pixels,
    collins_path: Path,
    group_path: Path,
    pair_frames: list[Pixels],
    save: Save,
    save_picture: SavePicture,
    tmp_path: Path,
    data_dir: Path,
) -> None:
    empty = np.full((120, 160, 3), 128, np.uint8)
    whole = make_clip("whole.mp4", moving(hopper, frames=3)).read_bytes()
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        tone.sample_rate = 48000
        container.mux([*stream.encode(tone), *stream.encode()])
    cases: list[tuple[Path, type[FaceWarpError], int]] = [
        (save_picture("empty.png", empty), NoFaceError, 602),
        (make_clip("empty.mp4", [empty] * 3), NoFaceError, 602),
        (group_path, MultipleFacesError, 603),
        (make_clip("pair.mp4", pair_frames[:2]), MultipleFacesError, 603),
        (save("cut.mp4", whole[: len(whole) // 2]), UploadRejectedError, 701),
        (save("noise.mp4", whole[:48] + bytes(range(256)) * 40), UploadRejectedError, 701),
        (song, UnsupportedFormatError, 703),
    ]
    kept = kept_files(data_dir)
    for medium, expected, code in cases:
        swap = client.swap_image if medium.suffix == ".png" else client.swap_video
        with pytest.raises(FaceWarpError) as caught:
            await swap(medium, collins_path)
        assert type(caught.value) is expected, medium
        assert caught.value.code == code
        assert caught.value.task_id is not None  # the engine said so, not the client or the service beforehand
    assert (stray_files(data_dir), kept_files(data_dir)) == ([], kept + len(cases) + 1)


async def test_hd_is_visibly_finer(
    client: FaceSwapClient,
    make_clip: MakeClip,
    moving: Moving,
    hopper: Pixels,
    hopper_path: Path,
    collins_path: Path,
    folder: Path,
) -> None:
    clip = make_clip("a.mp4", moving(hopper, frames=3, size=(640, 640)))
    for medium, swap in ((hopper_path, client.swap_image), (clip, client.swap_video)):
        detail, images = [], []
        for hd in (False, True):
            result = await swap(medium, collins_path, hd=hd)
            path = await client.download(result, folder / f"{hd}{medium.suffix}")
            image = cv2.imread(str(path)) if medium is hopper_path else frames_of(path)[1]
            assert image is not None
            (face,) = local_finder().find(as_pixels(image))
            (x0, y0), (x1, y1) = face.landmarks.min(0).astype(int), face.landmarks.max(0).astype(int)
            images.append(image[y0:y1, x0:x1])
            detail.append(float(cv2.Laplacian(cv2.cvtColor(images[-1], cv2.COLOR_BGR2GRAY), cv2.CV_32F).std()))
        print("detail", medium.name, detail)
        assert detail[1] > 1.2 * detail[0]


@pytest.fixture
def long_clip(make_clip: MakeClip, moving: Moving, hopper: Pixels) -> Path:
    """A clip that takes an HD swap many times longer than the tests wait."""
    return make_clip("long.mp4", moving(hopper, frames=5) * 80)


async def working_on_a_clip(data_dir: Path) -> None:
    """Wait until a worker writes a clip."""
    with anyio.fail_after(20):
        # The worker is a process of its own, which knows no events.
        while not [path async for path in anyio.Path(data_dir).glob("parts/*/.result-*.mp4")]:  # noqa: ASYNC110
            await anyio.sleep(0.01)


@needs_proc
async def test_worker_is_killed_when_its_time_is_over_and_the_service_goes_on(
    make_client: MakeClient, long_clip: Path, hopper_path: Path, collins_path: Path, tmp_path: Path
) -> None:
    data_dir, others = tmp_path / "data", workers()
    async with (
        LocalService(data_dir=data_dir, video_timeout_s=1) as local,
        make_client(local.provider, local.auth) as client,
        anyio.create_task_group() as group,
    ):
        await client.swap_image(hopper_path, collins_path)  # now there is a worker that need not be started
        (worker,) = workers() - others

        async def fail() -> None:
            with pytest.raises(TaskFailedError, match="took too long") as caught:
                await client.swap_video(long_clip, collins_path, hd=True)
            assert caught.value.code == 601

        group.start_soon(fail)
        await working_on_a_clip(data_dir)
        assert workers() == {worker} | others
        await local.settled()
        assert (workers(), stray_files(data_dir)) == (others, [])
        await client.swap_image(collins_path, hopper_path)
        assert worker not in workers()
        # Two portraits, a clip, and two pictures with their thumbnails.
        assert (stray_files(data_dir), kept_files(data_dir)) == ([], 7)


@needs_proc
async def test_service_that_ends_takes_its_workers_and_their_files_along(
    make_client: MakeClient, long_clip: Path, collins_path: Path, tmp_path: Path
) -> None:
    data_dir, others = tmp_path / "data", workers()
    async with LocalService(data_dir=data_dir) as local, make_client(local.provider, local.auth) as client:
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(client.swap_video, long_clip, collins_path)
                await working_on_a_clip(data_dir)
                group.cancel_scope.cancel()
        assert workers() > others
    assert (workers(), stray_files(data_dir), kept_files(data_dir)) == (others, [], 2)
