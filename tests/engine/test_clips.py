"""Clips are read and written as a stream: timing, sound, pixel formats, and files that are not what they say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from benchmarks.engine import copy_clip
from facewarp_async.engine import EngineError
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips import Frame, Samples, base, decode, open_clip, read_frames
from facewarp_async.engine.clips.planes import Planes

if TYPE_CHECKING:
    from .conftest import Save

MakeClip = Callable[..., Path]
Moving = Callable[..., list[Pixels]]


@pytest.fixture
def frames(moving: Moving, collins: Pixels) -> list[Pixels]:
    return moving(collins, frames=10, size=(96, 64))


def read(path: Path) -> list[Frame]:
    with open_clip(path) as clip:
        return list(read_frames(clip))


def pictures(path: Path) -> list[Pixels]:
    with open_clip(path) as clip:
        return [frame.planes().to_picture() for frame in read_frames(clip)]


def code_of(path: Path) -> int:
    with pytest.raises(EngineError) as caught:
        pictures(path)
    return caught.value.code


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, exactly, by a reader of its own."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return sorted(frame.pts * stream.time_base for frame in container.decode(stream) if frame.pts is not None)


def difference(one: list[Pixels], other: list[Pixels]) -> float:
    assert len(one) == len(other)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(one, other, strict=True)]))


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


def animation(path: Path, frames: list[Pixels], durations: list[int]) -> Path:
    animated = cv2.Animation()
    opaque = np.full(frames[0].shape[:2], 255, np.uint8)
    animated.frames = [np.dstack([frame, opaque]) for frame in frames]
    animated.durations = durations
    assert cv2.imwriteanimation(str(path), animated, [cv2.IMWRITE_WEBP_QUALITY, 101])
    return path


def test_animated_webp_is_a_clip(tmp_path: Path, frames: list[Pixels]) -> None:
    path = animation(tmp_path / "a.webp", frames[:4], [40, 100, 60, 500])
    assert [frame.time_s for frame in read(path)] == [0, 0.04, 0.14, 0.2]
    assert difference(pictures(path), frames[:4]) < 4
    with open_clip(path) as clip:
        assert clip.duration_s == 0.7


def test_last_frame_is_shown_as_long_as_before(tmp_path: Path, frames: list[Pixels]) -> None:
    path = animation(tmp_path / "a.webp", frames[:4], [40, 100, 60, 500])
    copy_clip(path, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(0.7, abs=0.002)


def test_live_recording_of_unknown_length_is_read(make_clip: MakeClip, frames: list[Pixels]) -> None:
    path = make_clip("a.webm", frames, codec="libvpx")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(bytes(data))
    assert len(pictures(path)) == len(frames)


def webp_file(width: int, height: int, parts: list[tuple[int, int, int, int, bytes]], flags: int) -> bytes:
    """An animation put together by hand: left, top, width, height and still of each part."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)

    def number(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    body = b"WEBP" + chunk(b"VP8X", b"\x12\x00\x00\x00" + number(width - 1) + number(height - 1))
    body += chunk(b"ANIM", bytes(6))
    for left, top, wide, high, still in parts:
        head = number(left // 2) + number(top // 2) + number(wide - 1) + number(high - 1) + number(40)
        body += chunk(b"ANMF", head + bytes((flags,)) + still[12:])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def still(colour: tuple[int, int, int, int], size: tuple[int, int]) -> bytes:
    image = np.full((size[1], size[0], 4), colour, np.uint8)
    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    return data[:12] + data[data.index(b"VP8L") :]


@pytest.mark.parametrize(
    ("flags", "corner", "middle"),
    [
        (0, (0, 0, 200), (100, 0, 100)),  # laid over what is there
        (2, (0, 0, 200), (227, 127, 127)),  # replacing it; what is transparent is seen on white
        (1, (255, 255, 255), (227, 127, 127)),  # what was there has been cleared
    ],
)
def test_parts_of_an_animation_are_composed(
    save: Save, flags: int, corner: tuple[int, int, int], middle: tuple[int, int, int]
) -> None:
    red, half_blue = still((0, 0, 200, 255), (16, 16)), still((200, 0, 0, 128), (8, 8))
    path = save("a.webp", webp_file(16, 16, [(0, 0, 16, 16, red), (4, 4, 8, 8, half_blue)], flags))
    _, second = pictures(path)
    assert np.abs(second[1, 1].astype(int) - corner).max() < 8
    assert np.abs(second[8, 8].astype(int) - middle).max() < 8


def test_part_of_another_size_than_stated_is_refused(save: Save) -> None:
    red = still((0, 0, 200, 255), (16, 16))
    path = save("a.webp", webp_file(16, 16, [(0, 0, 8, 8, red)], 0))
    assert code_of(path) == 701


def test_still_webp_is_no_clip(save: Save, collins: Pixels) -> None:
    assert code_of(save("a.webp", cv2.imencode(".webp", collins)[1].tobytes())) == 703


def test_times_are_exact_at_a_varying_rate(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    uneven = [0, 33, 67, 250, 251, 400, 1000, 1001, 1040, 1100]
    for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx")):
        path = make_clip(name, frames, codec=codec, times=uneven, unit=Fraction(1, 1000))
        copy_clip(path, folder / "copy.mp4")
        assert times(folder / "copy.mp4") == [Fraction(time, 1000) for time in uneven]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(12)])
def test_times_are_exact_at_a_constant_rate(
    make_clip: MakeClip, frames: list[Pixels], folder: Path, rate: Fraction
) -> None:
    path = make_clip("a.mp4", frames, unit=1 / rate)
    copy_clip(path, folder / "copy.mp4")
    assert times(folder / "copy.mp4") == [number / rate for number in range(len(frames))]
    with av.open(str(folder / "copy.mp4")) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(float(10 / rate), abs=0.002)


def test_gif_keeps_its_times_and_the_length_of_its_last_frame(
    make_clip: MakeClip, frames: list[Pixels], folder: Path
) -> None:
    path = make_clip("a.gif", frames[:4], codec="gif", pix_fmt="rgb8", unit=Fraction(1, 100), times=[0, 10, 25, 100])
    copy_clip(path, folder / "copy.mp4")
    assert times(folder / "copy.mp4") == [Fraction(time, 100) for time in (0, 10, 25, 100)]


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


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx")])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.98])
def test_truncated_clip_is_unreadable(
    make_clip: MakeClip, frames: list[Pixels], name: str, codec: str, share: float
) -> None:
    path = make_clip(name, frames, codec=codec, options={"movflags": "+faststart"} if codec == "libx264" else None)
    data = path.read_bytes()
    path.write_bytes(data[: max(64, int(len(data) * share))])
    assert code_of(path) == 701


def test_header_without_frames_is_unreadable(make_clip: MakeClip, frames: list[Pixels]) -> None:
    path = make_clip("a.mp4", frames)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    assert code_of(path) == 701


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 701),
        (b"\x00\x00\x00\x20ftypisom" + bytes(20), 701),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + bytes(80), 701),
        (b"GIF89a" + bytes(40), 701),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska" + bytes(80), 703),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(80), 703),
        (b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", 703),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", 703),
    ],
)
def test_what_is_no_clip_has_its_code(save: Save, data: bytes, code: int) -> None:
    assert code_of(save("a.mp4", data)) == code


def test_picture_is_no_clip(collins_path: Path, hopper_path: Path) -> None:
    assert code_of(collins_path) == 703
    assert code_of(hopper_path) == 703


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_clip_of_one_row_or_column_is_refused(make_clip: MakeClip, size: tuple[int, int]) -> None:
    path = make_clip("a.gif", [np.zeros((size[1], size[0], 3), np.uint8)], codec="gif", pix_fmt="rgb8")
    assert code_of(path) == 701


def test_frames_larger_than_the_limit_are_not_even_decoded(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(decode, "MAX_CLIP_PIXELS", 96 * 64 - 1)
    assert code_of(path) == 701


def test_cover_of_a_song_is_no_clip(tmp_path: Path, frames: list[Pixels]) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width = frames[0].shape[:2]
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value  # type: ignore[assignment]  # older ones take no other
        container.mux(cover.encode(av.VideoFrame.from_ndarray(frames[0], format="bgr24")))
        container.mux(cover.encode())
    assert code_of(path) == 703


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert code_of(path) == 703


@pytest.mark.parametrize(("limit", "value"), [("MAX_CLIP_SECONDS", 0.2), ("MAX_CLIP_PIXELS", 96 * 64 - 1)])
def test_limits_of_the_header(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(base, limit, value)
    with pytest.raises(EngineError) as caught, open_clip(path):
        pass
    assert caught.value.code == 704


def test_limit_of_frames_while_they_come(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(base, "MAX_CLIP_FRAMES", 9)
    assert code_of(path) == 704


def test_length_that_the_header_hides(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    with open_clip(path) as clip:
        monkeypatch.setattr(base, "MAX_CLIP_SECONDS", 0.2)
        with pytest.raises(EngineError) as caught:
            list(clip.read())
    assert caught.value.code == 704


def test_webp_bombs_are_refused(tmp_path: Path, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    path = animation(tmp_path / "a.webp", frames[:3], [40, 40, 40])
    data = bytearray(path.read_bytes())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = struct.pack("<I", 9999)[:3] * 2
    path.write_bytes(bytes(data))
    assert code_of(path) == 704
    path = animation(tmp_path / "b.webp", frames[:3], [40, 40, 40])
    monkeypatch.setattr(base, "MAX_CLIP_FRAMES", 2)
    assert code_of(path) == 704


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


def test_second_frame_at_one_time_is_dropped(make_clip: MakeClip, frames: list[Pixels], folder: Path) -> None:
    """The muxer could not tell them apart, and would refuse the whole clip."""
    original, path = make_clip("a.webm", frames[:6], codec="libvpx"), folder / "double.webm"
    with av.open(str(original)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                packet.pts = packet.dts = 40 if packet.pts == 80 else packet.pts
                packet.stream = stream
                target.mux(packet)
    copy_clip(path, folder / "copy.mp4")
    assert times(folder / "copy.mp4") == [Fraction(number, 25) for number in (0, 1, 3, 4, 5)]
