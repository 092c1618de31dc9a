"""Clips are read and written as a stream: pixel formats, sound, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.engine import copy_clip
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips import Samples, open_clip, read_frames
from facewarp_async.engine.clips.planes import Planes
from tests.engine.decoded import difference, pictures

MakeClip = Callable[..., Path]
Moving = Callable[..., list[Pixels]]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv420p"),
        ("a.m4v", "libx264", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv444p"),
        ("deep.mp4", "libx264", "yuv420p10le"),
        ("full.mp4", "libx264", "yuv444p"),
        ("wide.mov", "prores_ks", "yuv422p10le"),
        ("motion.mov", "mjpeg", "yuvj420p"),
        ("rgb.mov", "qtrle", "rgb24"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_each_format_is_read(make_clip: MakeClip, frames: list[Pixels], name: str, codec: str, pix_fmt: str) -> None:
    path = make_clip(name, frames, codec=codec, pix_fmt=pix_fmt)
    assert difference(pictures(path), frames) < {"gif": 25, "mjpeg": 12}.get(codec, 7)


def test_brightness_is_kept_in_every_range(make_clip: MakeClip, frames: list[Pixels]) -> None:
    for name, codec, pix_fmt in (("a.mov", "mjpeg", "yuvj420p"), ("b.mp4", "libx264", "yuv420p10le")):
        found = pictures(make_clip(name, frames, codec=codec, pix_fmt=pix_fmt))
        assert abs(np.mean(found) - np.mean(frames)) < 2.5


def test_colours_are_not_shifted(make_clip: MakeClip, frames: list[Pixels]) -> None:
    """FFmpeg's own conversion of RGB darkens by more than a level."""
    found = pictures(make_clip("a.mov", frames, codec="qtrle", pix_fmt="rgb24"))
    assert abs(np.mean(found) - np.mean(frames)) < 0.8


def test_planes_are_taken_as_the_decoder_gives_them(make_clip: MakeClip, frames: list[Pixels]) -> None:
    path = make_clip("a.mp4", frames)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    with open_clip(path) as clip:
        found = [frame.planes().data for frame in read_frames(clip)]
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64)])
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "rgb24"])
def test_odd_sizes_lose_at_most_a_row_and_a_column(
    make_clip: MakeClip, moving: Moving, collins: Pixels, folder: Path, size: tuple[int, int], pix_fmt: str
) -> None:
    frames = moving(collins, frames=3, size=size)
    path = make_clip("odd.mov", frames, codec="libx264" if pix_fmt == "yuv444p" else "qtrle", pix_fmt=pix_fmt)
    found = pictures(path)
    assert found[0].shape == (64, 96, 3)
    assert difference(found, [frame[:64, :96] for frame in frames]) < 7
    copy_clip(path, folder / "copy.mp4")
    assert difference(pictures(folder / "copy.mp4"), found) < 7


def test_live_recording_of_unknown_length_is_read(make_clip: MakeClip, frames: list[Pixels]) -> None:
    path = make_clip("a.webm", frames, codec="libvpx")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(bytes(data))
    assert len(pictures(path)) == len(frames)


def test_single_frame_is_a_clip(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    path = make_clip("one.mp4", frames[:1])
    copy_clip(path, folder / "copy.mp4")
    assert difference(pictures(folder / "copy.mp4"), frames[:1]) < 10
    with av.open(str(folder / "copy.mp4")) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(0.04, abs=0.002)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_clip_becomes_upright(make_clip: MakeClip, frames: list[Pixels], folder: Path, degrees: int) -> None:
    stored = [np.ascontiguousarray(np.rot90(frame, degrees // 90)) for frame in frames]
    path = make_clip("turned.mp4", stored, rotation=degrees)
    assert difference(pictures(path), frames) < 7
    copy_clip(path, folder / "copy.mp4")
    with av.open(str(folder / "copy.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (96, 64, 0)


def sound_packets(path: Path) -> tuple[str, list[bytes], list[float]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        unit = stream.time_base
        assert unit is not None
        starts = [float((packet.pts or 0) * unit) for packet in packets]
        return stream.codec_context.name, [bytes(packet) for packet in packets], starts


@pytest.mark.parametrize(("name", "codec", "sound"), [("a.mp4", "libx264", "aac"), ("a.webm", "libvpx", "libopus")])
def test_sound_is_copied_packet_by_packet(
    make_clip: MakeClip, frames: list[Pixels], folder: Path, name: str, codec: str, sound: str
) -> None:
    path = make_clip(name, frames, codec=codec, sound=sound)
    copy_clip(path, folder / "copy.mp4")
    kind, packets, starts = sound_packets(path)
    copied_kind, copied, copied_starts = sound_packets(folder / "copy.mp4")
    assert (copied_kind, copied) == (kind, packets)
    assert np.abs(np.array(starts) - copied_starts).max() < 0.002


def test_sound_that_mp4_cannot_carry_becomes_aac(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    path = make_clip("a.mov", frames, sound="pcm_s16le")
    copy_clip(path, folder / "copy.mp4")
    assert sound_packets(folder / "copy.mp4")[0] == "aac"
    with av.open(str(folder / "copy.mp4")) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert abs(len(wave) / rate - 0.4) < 0.05
    spectrum = np.abs(np.fft.rfft(wave))
    assert abs(np.argmax(spectrum) * rate / len(wave) - 440) < 5


def test_clip_without_sound_gets_none(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    copy_clip(make_clip("a.mp4", frames), folder / "copy.mp4")
    with av.open(str(folder / "copy.mp4")) as container:
        assert not container.streams.audio


def test_result_says_that_it_is_synthetic_and_streams(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    copy_clip(make_clip("a.mp4", frames), folder / "copy.mp4")
    with av.open(str(folder / "copy.mp4")) as container:
        assert container.metadata["comment"].startswith("Synthetic media")
        assert container.streams.video[0].codec_context.name == "h264"
    data = (folder / "copy.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playable before it has all arrived


def test_hd_is_encoded_finer(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    path = make_clip("a.mp4", frames)
    copy_clip(path, folder / "fast.mp4")
    copy_clip(path, folder / "hd.mp4", hd=True)
    original = pictures(path)
    fast, fine = difference(pictures(folder / "fast.mp4"), original), difference(pictures(folder / "hd.mp4"), original)
    assert fine < 0.8 * fast


def test_colour_tags_are_copied(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    tags = {"colorprim": "bt709", "transfer": "bt709", "colormatrix": "bt709"}
    options = {"x264-params": ":".join(f"{key}={value}" for key, value in tags.items())}
    copy_clip(make_clip("a.mp4", frames, options=options), folder / "copy.mp4")
    with open_clip(folder / "copy.mp4") as clip:
        assert (clip.colours.primaries, clip.colours.transfer, clip.colours.matrix) == (1, 1, 1)


def test_planes_there_and_back_change_nothing(hopper: Pixels) -> None:
    planes = Planes.of_picture(hopper)
    again = Planes.of_picture(planes.to_picture())
    assert np.abs(again.data.astype(int) - planes.data).mean() < 0.1


def test_only_the_box_is_written_back(hopper: Pixels) -> None:
    planes = Planes.of_picture(hopper)
    before = [part.copy() for part in planes.parts()]
    image = planes.to_picture()
    image[:] = 0
    planes.put(image, (101, 51, 200, 121))
    for part, old, step in zip(planes.parts(), before, (1, 2, 2), strict=True):
        changed = np.argwhere(part != old)
        assert changed.min(0).tolist() >= [50 // step, 100 // step]
        assert changed.max(0).tolist() <= [122 // step, 200 // step]
    assert (planes.to_picture()[51:121, 101:200] < 3).all()


def test_size_that_changes_on_the_way_is_brought_to_the_first(
    tmp_path: Path, moving: Moving, collins: Pixels, make_clip: MakeClip
) -> None:
    """WEBM carries such clips: two recordings of different size under one header."""
    small = make_clip("small.webm", moving(collins, frames=4, size=(96, 64)), codec="libvpx")
    large = make_clip("large.webm", moving(collins, frames=4, size=(192, 128)), codec="libvpx")
    path = tmp_path / "both.webm"
    with av.open(str(small)) as one, av.open(str(large)) as other, av.open(str(path), "w") as joined:
        stream = joined.add_stream_from_template(one.streams.video[0])
        for shift, source in ((0, one), (1000, other)):
            for packet in source.demux(video=0):
                if packet.dts is not None and packet.pts is not None:
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    joined.mux(packet)
    found = pictures(path)
    assert len(found) == 8
    assert {image.shape for image in found} == {(64, 96, 3)}


def test_samples_are_spread_over_the_clip(make_clip: MakeClip, moving: Moving, collins: Pixels) -> None:
    path = make_clip("a.mp4", moving(collins, frames=45, size=(64, 64)))
    with open_clip(path) as clip:
        samples = Samples(clip)
        due = [round(frame.time_s * 25) for frame in read_frames(clip) if samples.is_due(frame)]
    assert due == [0, 5, 10, 15, 20, 25, 30, 35, 40]
