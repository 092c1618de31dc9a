"""When the frames of a clip are shown stays exact."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from benchmarks.engine import copy_clip
from facewarp_async.engine.arrays import Pixels
from tests.engine.decoded import times

MakeClip = Callable[..., Path]


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
