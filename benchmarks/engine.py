"""What the local engine costs: pictures in milliseconds, clips against decoding and encoding them unchanged.

    python -m benchmarks engine [--rounds 5] [--frames 75] [--quick]

The clip is a 1280x720 pan, zoom and turn over a portrait with a camera's noise. Each round runs all variants one after
the other, so that what else the machine does meets all of them alike; medians are printed with their range, and the
ratios are those within a round. Every result is checked before it is timed.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from importlib import resources
from pathlib import Path

import av
import cv2
import numpy as np
from attrs import frozen

from facewarp_async import engine
from facewarp_async.engine.arrays import Pixels, as_floats, as_pixels
from facewarp_async.engine.clips import ClipWriter, Frame, open_clip
from facewarp_async.engine.finder import local_finder

SIZE = (1280, 720)


@frozen(kw_only=True)
class Cost:
    """What one run took.

    Attributes:
        wall_s: Seconds.
        cpu_s: Seconds, all threads of the process.
    """

    wall_s: float
    cpu_s: float


def measured(work: Callable[[], object]) -> Cost:
    """Run something once."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)


def peak_mib() -> int:
    """The largest memory of this process so far; 0 where /proc does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def spread(values: Iterable[float], unit: str, digits: int = 1) -> str:
    """Median and range."""
    ordered = sorted(values)
    middle = statistics.median(ordered)
    return f"{middle:.{digits}f} {unit} ({ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f})"


def portrait(name: str) -> Path:
    """One of the two portraits that come with the package."""
    return Path(str(resources.files("facewarp_async.engine"))) / "data" / "portraits" / name


def picture(name: str) -> Pixels:
    """The same, decoded."""
    image = cv2.imread(str(portrait(name)))
    assert image is not None
    return as_pixels(image)


def write_pictures(folder: Path) -> None:
    """A portrait of 512x768, and four people on 1600x900."""
    hopper, collins = picture("hopper.jpg"), picture("collins.png")
    tall = cv2.copyMakeBorder(hopper, 60, 108, 0, 0, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / "one.jpg"), tall)
    group = np.full((900, 1600, 3), (150, 140, 130), np.uint8)
    for number, image in enumerate((hopper, collins[:, ::-1], collins, hopper[:, ::-1])):
        head = cv2.resize(image, (400, 460), interpolation=cv2.INTER_AREA)
        group[200:660, 400 * number : 400 * number + 400] = head
    cv2.imwrite(str(folder / "four.jpg"), group)


def write_clip(path: Path, frames: int) -> None:
    """Pan, zoom and turn a portrait."""
    still, rng = picture("hopper.jpg"), np.random.default_rng(3)
    high, wide = still.shape[:2]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        for number in range(frames):
            angle = 2 * np.pi * number / 75
            scale = SIZE[1] / high * (1 + 0.2 * np.sin(angle))
            matrix = as_floats(cv2.getRotationMatrix2D((wide / 2, high / 2), 6 * np.sin(2 * angle), scale))
            matrix[:, 2] += as_floats([SIZE[0] / 2 - wide / 2 + 90 * np.sin(angle), SIZE[1] / 2 - high / 2])
            view = cv2.warpAffine(still, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            noisy = np.clip(view + rng.normal(0, 2, view.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())


def copy_clip(path: Path, out: Path, *, hd: bool = False) -> None:
    """The control: the same decoding and encoding without a swap."""
    with open_clip(path) as clip, ClipWriter(out, clip, hd=hd) as writer:
        for item in clip.read():
            if isinstance(item, Frame):
                writer.write(item, item.planes())
            else:
                writer.write_sound(item)
        writer.finish()


def time_copy(path: Path, out: Path, hd: bool) -> Cost:
    """Run the control in a worker process."""
    return measured(lambda: copy_clip(path, out, hd=hd))


def time_swap(path: Path, out: Path, hd: bool) -> Cost:
    """Run the swap in a worker process."""
    return measured(lambda: engine.swap_video(path, portrait("collins.png"), out, hd=hd))


def check_clip(path: Path, out: Path, frames: int) -> None:
    """Every frame must have been changed in its face, and only there."""
    engine.swap_video(path, portrait("collins.png"), out)
    with av.open(str(path)) as before, av.open(f"{out}.mp4") as after:
        pairs = list(zip(before.decode(video=0), after.decode(video=0), strict=True))
        assert len(pairs) == frames
        for one, other in pairs[:: max(1, frames // 10)]:
            old, new = as_pixels(one.to_ndarray(format="bgr24")), as_pixels(other.to_ndarray(format="bgr24"))
            (face,) = local_finder().find(old)
            x, y = face.centre.astype(int)
            difference = np.abs(old.astype(int) - new).max(axis=2)
            assert difference[y - 60 : y + 60, x - 60 : x + 60].mean() > 12
            assert difference[:40].mean() < 6


def bench_pictures(folder: Path, rounds: int) -> None:
    """Time the tasks on pictures, file to file."""
    face = portrait("collins.png")
    found = engine.find_faces(folder / "four.jpg", folder)
    assert len(found) == 4
    pairs = [(crop.landmarks, face) for crop in found]
    assert engine.swap_image(folder / "one.jpg", face, folder / "check").height == 768
    tasks: dict[str, Callable[[], object]] = {
        "swap 512x768, fast": lambda: engine.swap_image(folder / "one.jpg", face, folder / "r"),
        "swap 512x768, HD": lambda: engine.swap_image(folder / "one.jpg", face, folder / "r", hd=True),
        "find 4 faces in 1600x900": lambda: engine.find_faces(folder / "four.jpg", folder),
        "swap 4 faces in 1600x900, fast": lambda: engine.swap_faces(folder / "four.jpg", pairs, folder / "r"),
        "swap 4 faces in 1600x900, HD": lambda: engine.swap_faces(folder / "four.jpg", pairs, folder / "r", hd=True),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in tasks}
    for _ in range(4 * rounds):
        for name, task in tasks.items():
            costs[name].append(measured(task))
    for name, runs in costs.items():
        print(f"{name:32} {spread((1000 * run.cpu_s for run in runs), 'ms CPU', 0)}")


def bench_clips(folder: Path, rounds: int, frames: int) -> None:
    """Time clips in worker processes, fast and HD, each beside its control."""
    path = folder / "clip.mp4"
    write_clip(path, frames)
    check_clip(path, folder / "check", frames)
    context = multiprocessing.get_context("spawn")
    for hd in (False, True):
        with ProcessPoolExecutor(2, mp_context=context, initializer=engine.warm_up) as pool:
            plain, one, two = [], [], []
            for _ in range(rounds):
                plain.append(pool.submit(time_copy, path, folder / "copy.mp4", hd).result())
                one.append(pool.submit(time_swap, path, folder / "a", hd).result())
                start = time.perf_counter()
                both = [pool.submit(time_swap, path, folder / name, hd) for name in ("a", "b")]
                for future in both:
                    future.result()
                two.append(time.perf_counter() - start)
            peaks = [pool.submit(peak_mib).result() for _ in range(4)]
        print(f"\n720p, {'HD' if hd else 'fast'}, {frames} frames")
        print(f"  decode and encode alone  {spread((1000 * run.cpu_s / frames for run in plain), 'ms CPU a frame')}")
        print(f"  with the swap            {spread((1000 * run.cpu_s / frames for run in one), 'ms CPU a frame')}")
        ratios = [swap.cpu_s / copy.cpu_s for swap, copy in zip(one, plain, strict=True)]
        print(f"  ratio                    {spread(ratios, 'times', 2)}")
        print(f"  one worker process       {spread((frames / run.wall_s for run in one), 'frames a second')}")
        print(f"  two worker processes     {spread((2 * frames / wall for wall in two), 'frames a second')}")
        print(f"  peak memory a worker     {max(peaks)} MiB")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=75)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    rounds, frames = (1, 10) if given.quick else (given.rounds, given.frames)
    print(f"load the networks                {1000 * measured(engine.warm_up).cpu_s:.0f} ms CPU")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        bench_pictures(folder, rounds)
        bench_clips(folder, rounds, frames)


if __name__ == "__main__":
    # Under the module's own name the worker processes find its functions.
    importlib.import_module("benchmarks.engine").main()
