"""The tasks on clips, from file to file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from facewarp_async import engine
from facewarp_async.engine import EngineError, videos
from facewarp_async.engine.arrays import Pixels, as_floats
from facewarp_async.engine.clips import Frame
from facewarp_async.engine.face import Face
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.swap import Source
from facewarp_async.engine.track import Tracked
from tests.engine.decoded import decode_picture, pictures

if TYPE_CHECKING:
    from .conftest import Measures, Save

MakeClip = Callable[..., Path]
Moving = Callable[..., list[Pixels]]


@pytest.fixture
def clip_path(make_clip: MakeClip, moving: Moving, hopper: Pixels) -> Path:
    return make_clip("a.mp4", moving(hopper, frames=10), sound="aac")


@pytest.mark.slow
@pytest.mark.parametrize("hd", [False, True])
def test_every_frame_shows_the_new_face(
    clip_path: Path,
    collins_path: Path,
    collins_source: Source,
    hopper_source: Source,
    folder: Path,
    measures: Measures,
    hd: bool,
) -> None:
    result = engine.swap_video(clip_path, collins_path, folder / "r", hd=hd)
    found, before = pictures(result.path), pictures(clip_path)
    assert len(found) == len(before)
    for image, original in zip(found, before, strict=True):
        (face,) = local_finder().find(image)
        like = measures.likeness(image, face, collins_source.image, collins_source.face)
        assert like > measures.likeness(original, face, collins_source.image, collins_source.face) + 0.05
        outside = np.ones(image.shape[:2], np.bool_)
        (x0, y0), (x1, y1) = face.bounds[0].astype(int) - 12, face.bounds[1].astype(int) + 12
        outside[y0:y1, x0:x1] = False
        assert np.abs(image[outside].astype(int) - original[outside]).mean() < 4


def test_result_names_its_files_and_sizes(clip_path: Path, collins_path: Path, folder: Path) -> None:
    result = engine.swap_video(clip_path, collins_path, folder / "r.1")
    assert result.path == folder / "r.1.mp4"
    assert (result.width, result.height, result.size) == (320, 240, result.path.stat().st_size)
    assert result.duration_s == pytest.approx(0.4, abs=0.03)
    for picture in (result.cover, result.cover_thumbnail):
        assert decode_picture(picture.path).shape == (picture.height, picture.width, 3)
        assert b"Synthetic media" in picture.path.read_bytes()
    assert (result.cover.width, result.cover.height) == (320, 240)
    names = {"r.1.mp4", "r.1_cover.jpg", "r.1_cover_thumbnail.jpg"}
    assert {path.name for path in folder.iterdir()} == names
    with av.open(str(result.path)) as container:
        assert container.metadata["comment"].startswith("Synthetic media")
        assert [stream.type for stream in container.streams] == ["video", "audio"]


@pytest.mark.slow
def test_cover_is_the_first_changed_frame(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    frames = moving(hopper, frames=6, size=(640, 1200))
    blank = [np.full_like(frames[0], 90)] * 3
    result = engine.swap_video(make_clip("a.mp4", [*blank, *frames[:3]]), collins_path, folder / "r")
    cover = decode_picture(result.cover.path)
    assert np.abs(cover.astype(int) - pictures(result.path)[3]).mean() < 5
    assert (result.cover_thumbnail.width, result.cover_thumbnail.height) == (288, 540)
    assert len(pictures(result.path)) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.webm", "libvpx", "yuv420p"), ("a.mov", "prores_ks", "yuv422p10le"), ("a.gif", "gif", "rgb8")],
)
def test_other_formats_become_mp4(
    make_clip: MakeClip,
    moving: Moving,
    hopper: Pixels,
    collins_path: Path,
    folder: Path,
    name: str,
    codec: str,
    pix_fmt: str,
    measures: Measures,
) -> None:
    path = make_clip(
        name, moving(hopper, frames=4, size=(241, 239) if codec == "gif" else (240, 240)), codec=codec, pix_fmt=pix_fmt
    )
    result = engine.swap_video(path, collins_path, folder / "r")
    assert (result.width, result.height) == ((240, 238) if codec == "gif" else (240, 240))
    with av.open(str(result.path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    for image, original in zip(pictures(result.path), pictures(path), strict=True):
        (face,) = local_finder().find(original)
        assert measures.changed_share(image, original, face) > 0.1


def test_rotated_clip_is_swapped_upright(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    frames = [np.ascontiguousarray(np.rot90(frame)) for frame in moving(hopper, frames=3, size=(320, 240))]
    result = engine.swap_video(make_clip("a.mp4", frames, rotation=90), collins_path, folder / "r")
    assert (result.width, result.height) == (320, 240)


def test_single_frame_is_swapped(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    result = engine.swap_video(make_clip("a.mp4", moving(hopper, frames=1)), collins_path, folder / "r")
    assert result.duration_s == pytest.approx(0.04, abs=0.002)


def test_no_face_leaves_nothing(make_clip: MakeClip, collins_path: Path, folder: Path) -> None:
    path = make_clip("a.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 4)
    with pytest.raises(EngineError, match="video") as caught:
        engine.swap_video(path, collins_path, folder / "r")
    assert caught.value.code == 602
    assert not list(folder.iterdir())


def test_missing_clip_is_unreadable(collins_path: Path, folder: Path) -> None:
    for task in (engine.swap_video, engine.swap_image):
        with pytest.raises(EngineError) as caught:
            task(folder / "missing.mp4", collins_path, folder / "r")
        assert caught.value.code == 701


@pytest.mark.parametrize("size", [(2, 2), (16, 4), (640, 2)])
def test_tiny_clips_have_no_face(make_clip: MakeClip, collins_path: Path, folder: Path, size: tuple[int, int]) -> None:
    path = make_clip("a.gif", [np.zeros((size[1], size[0], 3), np.uint8)] * 2, codec="gif", pix_fmt="rgb8")
    with pytest.raises(EngineError) as caught:
        engine.swap_video(path, collins_path, folder / "r")
    assert caught.value.code == 602
    assert not list(folder.iterdir())


def test_picture_of_the_face_is_checked(clip_path: Path, save: Save, folder: Path) -> None:
    with pytest.raises(EngineError) as caught:
        engine.swap_video(clip_path, save("text.png", b"no picture at all"), folder / "r")
    assert caught.value.code == 703
    assert not list(folder.iterdir())


def test_several_faces_are_refused(
    make_clip: MakeClip, pair_frames: list[Pixels], collins_path: Path, folder: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.swap_video(make_clip("a.mp4", pair_frames[:2]), collins_path, folder / "r")
    assert caught.value.code == 603
    assert not list(folder.iterdir())


def test_damage_on_the_way_leaves_nothing(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    path = make_clip("a.mp4", moving(hopper, frames=10), options={"g": "1"})
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov")
    start += (end - start) // 4
    data[start : end - 8] = bytes(end - 8 - start)
    path.write_bytes(bytes(data))
    with pytest.raises(EngineError) as caught:
        engine.swap_video(path, collins_path, folder / "r")
    assert caught.value.code == 701
    assert not list(folder.iterdir())


def test_cover_that_cannot_be_written_leaves_nothing(
    clip_path: Path, collins_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(videos, "write_thumbnail", fail)
    with pytest.raises(EngineError) as caught:
        engine.swap_video(clip_path, collins_path, folder / "r")
    assert caught.value.code == 601
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_only_the_named_faces_change_and_are_followed(
    make_clip: MakeClip, pair_frames: list[Pixels], collins_path: Path, folder: Path, measures: Measures
) -> None:
    path = make_clip("a.mp4", pair_frames)
    crops = folder / "crops"
    crops.mkdir()
    left, _ = (engine.find_faces(path, crops)[index] for index in (0, -1))
    result = engine.swap_video_faces(path, [(left.landmarks, collins_path)], folder / "r")
    for image, original in zip(pictures(result.path), pictures(path), strict=True):
        named, other = local_finder().find(original)
        assert measures.changed_share(image, original, named) > 0.1
        assert measures.changed_share(image, original, other) < 0.01


@pytest.mark.slow
def test_face_named_late_is_changed_from_its_first_frame_on(
    make_clip: MakeClip, collins: Pixels, hopper_path: Path, folder: Path, measures: Measures
) -> None:
    """The face enters after the first sample, and the crop that names it is from a later frame than its first."""
    empty = np.full((300, 640, 3), (150, 140, 130), np.uint8)
    head = cv2.resize(collins, (240, 240), interpolation=cv2.INTER_AREA)
    frames = [empty] * 3
    for number in range(20):
        frame = empty.copy()
        frame[30:270, 20 + 18 * number : 260 + 18 * number] = head
        frames.append(frame)
    path = make_clip("a.mp4", frames)
    (crop,) = engine.find_faces(path, folder)  # listed once, though it is somewhere else in each sample
    result = engine.swap_video_faces(path, [(crop.landmarks, hopper_path)], folder / "r")
    found = pictures(result.path)
    for image, original in list(zip(found, pictures(path), strict=True))[3:]:
        (face,) = local_finder().find(original)
        assert measures.changed_share(image, original, face) > 0.1


@pytest.mark.slow
def test_face_that_is_named_twice_is_changed_once(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, hopper_path: Path, folder: Path
) -> None:
    """Two crops of one person, from different moments: the later naming counts."""
    path = make_clip("a.mp4", moving(hopper, frames=3))
    (crop,) = engine.find_faces(path, folder)
    pairs = [(crop.landmarks, collins_path), (crop.landmarks, hopper_path)]
    both = engine.swap_video_faces(path, pairs, folder / "both")
    one = engine.swap_video_faces(path, pairs[1:], folder / "one")
    # Nearly: x264 itself does not give the same bytes each time.
    for changed, expected, original in zip(*map(pictures, (both.path, one.path, path)), strict=True):
        assert np.abs(changed.astype(int) - expected).mean() < 0.3 * np.abs(changed.astype(int) - original).mean()


def test_place_without_a_face_is_refused(clip_path: Path, collins_path: Path, folder: Path) -> None:
    nowhere = [(300.0, 10.0), (310.0, 10.0), (305.0, 15.0), (300.0, 20.0), (310.0, 20.0)]
    with pytest.raises(EngineError) as caught:
        engine.swap_video_faces(clip_path, [(nowhere, collins_path)], folder / "r")
    assert caught.value.code == 602
    assert not list(folder.iterdir())


def test_faces_of_a_clip_are_listed_once_a_place(make_clip: MakeClip, pair_frames: list[Pixels], folder: Path) -> None:
    path = make_clip("a.mp4", [pair_frames[0]] * 12)
    crops = engine.find_faces(path, folder)
    assert len(crops) == 2
    for crop in crops:
        assert decode_picture(crop.path).shape == (crop.height, crop.width, 3)
        assert len(local_finder().find(decode_picture(crop.path))) == 1


@pytest.mark.slow
def test_faces_that_come_late_are_listed_too(make_clip: MakeClip, pair_frames: list[Pixels], folder: Path) -> None:
    blank = np.full_like(pair_frames[0], 128)
    assert len(engine.find_faces(make_clip("a.mp4", [blank] * 8 + [pair_frames[0]] * 8), folder)) == 2
    assert engine.find_faces(make_clip("b.mp4", [blank] * 8), folder) == []


def face_at(x: float, size: float = 1.0) -> Face:
    rng = np.random.default_rng(1)
    return Face(mesh=as_floats(rng.normal(0, 20 * size, (468, 3)) + as_floats([x, 100, 0])))


def test_another_face_takes_over_only_when_it_was_not_there_before(collins_source: Source) -> None:
    choose = videos._MainFace(collins_source)
    main, small, new = face_at(100), face_at(400, 0.2), face_at(250)

    def chosen(time_s: float, **faces: Face) -> list[Face]:
        numbers = {"main": 0, "small": 1, "new": 2}
        tracked = [Tracked(track=numbers[name], face=face) for name, face in faces.items()]
        frame = Frame(pts=0, duration=0, time_s=time_s, pixels=np.zeros((2, 2, 4), np.uint8), size=(2, 2))
        return [face for face, _ in choose(frame, tracked)]

    assert chosen(0.0) == []
    assert chosen(0.1, main=main, small=small) == [main]
    assert chosen(0.2, small=small) == []  # a bystander is nobody's stand-in
    assert chosen(0.3, main=main, small=small) == [main]
    assert chosen(0.4, small=small, new=new) == [new]  # a cut, or the face under a new number
    assert chosen(0.5, small=small) == []
    assert chosen(3.6, small=small) == [small]


PROBE = """
import re, sys
from pathlib import Path
from facewarp_async import engine
engine.warm_up()
engine.swap_video(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
# not ru_maxrss: that one remembers the process that this one was forked from
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_length(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    frames = moving(hopper, frames=15, size=(640, 480))
    peaks = []
    for number, repeats in enumerate((1, 8)):
        path = make_clip(f"{repeats}.mp4", frames * repeats)
        command = [sys.executable, "-c", PROBE, str(path), str(collins_path), str(folder / f"{number}")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print("peaks", peaks, "MiB")
    assert peaks[1] - peaks[0] < 30  # the further frames alone would be 92 MiB decoded


def test_sound_stays_beside_the_picture(
    make_clip: MakeClip, moving: Moving, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    path = make_clip(
        "a.mov", moving(hopper, frames=10), sound="pcm_s16le", times=[n * 40 for n in range(10)], unit=Fraction(1, 1000)
    )
    result = engine.swap_video(path, collins_path, folder / "r")
    with av.open(str(result.path)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        assert sound.duration is not None
        assert sound.time_base is not None
        assert float(sound.duration * sound.time_base) == pytest.approx(0.4, abs=0.06)
