"""Throw damaged pictures and clips at the engine, in a process that may die of it.

    python tests/engine/fuzz_media.py [--seconds 120] [--seed 1] [--keep FOLDER]

Bytes of valid files are changed at random and given to every task. Anything but a result or an `EngineError` with one
of the protocol's codes is a finding: another exception, a dead or hanging process, a file left behind after a failure,
more than 2 GiB of memory. The files that caused findings are kept, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from importlib import resources
from multiprocessing.connection import Connection
from pathlib import Path

import av
import cv2
import numpy as np

from facewarp_async import engine

TIMEOUT_S = 30.0
MEMORY_BYTES = 2 << 30
CODES = {601, 602, 603, 701, 703, 704}
PORTRAITS = Path(str(resources.files("facewarp_async.engine"))) / "data" / "portraits"


def seeds(folder: Path) -> dict[str, bytes]:
    """Small valid files of every kind."""
    image = cv2.imread(str(PORTRAITS / "collins.png"))
    assert image is not None
    head = cv2.resize(image[10:250, 110:330], (112, 128), interpolation=cv2.INTER_AREA)
    files = {f"still{suffix}": cv2.imencode(suffix, head)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".gif")}
    files["progressive.jpg"] = cv2.imencode(".jpg", head, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    files["deep.png"] = cv2.imencode(".png", head.astype(np.uint16) * 257)[1].tobytes()
    animation = cv2.Animation()
    alpha = np.full(head.shape[:2], 200, np.uint8)
    animation.frames = [np.dstack([np.roll(head, 4 * number, axis=1), alpha]) for number in range(4)]
    animation.durations = [40] * 4
    for suffix in (".webp", ".gif"):
        path = folder / f"seed{suffix}"
        assert cv2.imwriteanimation(str(path), animation)
        files[f"animation{suffix}"] = path.read_bytes()
    for name, codec, sound in (
        ("clip.mp4", "libx264", "aac"),
        ("clip.webm", "libvpx", "libopus"),
        ("clip9.webm", "libvpx-vp9", None),
        ("clip.mov", "mjpeg", "pcm_s16le"),
    ):
        files[name] = clip(folder / name, np.ascontiguousarray(head), codec, sound)
    return files


def clip(path: Path, head: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], codec: str, sound: str | None) -> bytes:
    """Six frames, with or without sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        assert isinstance(video, av.VideoStream)
        video.height, video.width = head.shape[:2]
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = None if sound is None else container.add_stream(sound, rate=48000)
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(np.roll(head, 2 * number, axis=1), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if isinstance(audio, av.AudioStream):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16", layout="mono")
            tone.sample_rate = 48000
            container.mux(audio.encode(tone))
            container.mux(audio.encode())
    return path.read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes: flips, lies in numbers, cuts, repeats and zeros; mostly near the front, where headers are."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        reach = len(result) if rng.random() < 0.4 else min(len(result), 800)
        at = rng.randrange(max(1, reach))
        match rng.randrange(7):
            case 0 | 1:
                result[at : at + 1] = bytes((rng.randrange(256),))
            case 2:
                number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000))
                result[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
            case 3:
                result[at : at + rng.randrange(64)] = b""
            case 4:
                result[at:at] = result[at : at + rng.randrange(64)]
            case 5:
                result[at : at + rng.randrange(64)] = bytes(rng.randrange(64))
            case _:
                if rng.random() < 0.2:
                    del result[at:]
    return bytes(result)


def run_task(name: str, media: Path, out: Path) -> str:
    """Run one task and say what came of it."""
    face = PORTRAITS / "hopper.jpg"
    tasks: dict[str, Callable[[], object]] = {
        "swap_image": lambda: engine.swap_image(media, face, out / "r"),
        "as face": lambda: engine.swap_image(face, media, out / "r"),
        "find_faces": lambda: engine.find_faces(media, out),
        "swap_video": lambda: engine.swap_video(media, face, out / "r"),
    }
    try:
        tasks[name]()
    except engine.EngineError as error:
        if error.code not in CODES:
            return f"finding: code {error.code}"
        left = [path.name for path in out.iterdir()]
        return f"finding: left {left}" if left else str(error.code)
    except BaseException:  # whatever it is, it is a finding
        return "finding: " + traceback.format_exc()
    return "done"


def work(pipe: Connection) -> None:
    """Serve tasks until the parent hangs up."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    engine.warm_up()
    while True:
        try:
            name, media = pipe.recv()
        except EOFError:
            return
        with tempfile.TemporaryDirectory() as folder:
            pipe.send(run_task(name, media, Path(folder)))


class Worker:
    """The process that may die."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, name: str, media: Path) -> str:
        """Run a task; a dead or silent process is a finding, and the next task needs a new worker."""
        self._pipe.send((name, media))
        try:
            if self._pipe.poll(TIMEOUT_S):
                return str(self._pipe.recv())
        except (EOFError, ConnectionError):
            self._process.join()
            return f"finding: died with {self._process.exitcode}"
        self.stop()
        return "finding: hangs"

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def fuzz(seconds: float, seed: int, keep: Path) -> int:
    """Run for a while; give the number of findings."""
    rng, counts, findings = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = seeds(folder)
        worker, end, number = Worker(), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            kind = rng.choice(sorted(files))
            media = folder / f"case-{kind}"
            media.write_bytes(mutate(files[kind], rng))
            tasks = ("swap_video", "find_faces") if "clip" in kind else ("swap_image", "as face", "find_faces")
            task = "swap_video" if "animation" in kind and rng.random() < 0.5 else rng.choice(tasks)
            outcome = worker.run(task, media)
            counts[f"{Path(kind).suffix} {outcome.split(':')[0]}"] += 1
            if outcome.startswith("finding"):
                findings += 1
                keep.mkdir(parents=True, exist_ok=True)
                kept = keep / f"{seed}-{number}-{kind}"
                kept.write_bytes(media.read_bytes())
                print(f"{task} on {kept}: {outcome}", flush=True)
                if "died" in outcome or "hangs" in outcome:
                    worker = Worker()
        worker.stop()
    print(f"{number} cases, {findings} findings:", dict(sorted(counts.items())))
    return findings


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    return 1 if fuzz(options.seconds, options.seed, options.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
