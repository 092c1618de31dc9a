"""What a page shows of each job: addresses, pictures, places on the axis, texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from attrs import frozen

from facewarp_async.models import MediaType
from facewarp_async.report.links import link
from facewarp_async.report.pictures import can_copy, first_frame, small_picture
from facewarp_async.report.timeline import Axis, Bar, describe, strip
from facewarp_async.report.values import Fate, JobReport, Phase
from facewarp_async.text import bytes_text, seconds

Pictures = Literal["auto", "embed", "link"]
"""Whether a page contains small copies of the pictures, or shows the files themselves."""

MOST_EMBEDDED = 200
"""Up to how many jobs a page contains its pictures, if nothing is said: it can be mailed then."""

_VIDEOS = {media_type.extension for media_type in MediaType if media_type.is_video}
_PICTURES = {media_type.extension for media_type in MediaType if not media_type.is_video} | {".jpeg"}


@frozen(kw_only=True)
class Shown:
    """A file on a page.

    Attributes:
        href: Its address.
        is_video: Whether it is a video.
        copy: A small copy of it, or of its first picture, as a ``data:`` address; ``None`` without one.
        size: Its bytes, for people.
    """

    href: str
    is_video: bool
    copy: str | None
    size: str

    @property
    def src(self) -> str:
        """The address of a picture that shows it."""
        return self.copy or self.href


@frozen(kw_only=True)
class Card:
    """A job on a page.

    Attributes:
        job: The job.
        before: Its media, if the file is there.
        after: Its result, if the file is there.
        is_gone: Whether the result was there once, and is not any more.
        bars: What it was at, one behind the other.
        x: Where it begins on the axis.
        width: How wide it is there.
        durations: How long it was at what, in words.
        elapsed: How long it took, in words.
    """

    job: JobReport
    before: Shown | None
    after: Shown | None
    is_gone: bool
    bars: list[Bar]
    x: float
    width: float
    durations: list[tuple[Phase, str]]
    elapsed: str

    @property
    def can_wipe(self) -> bool:
        """Whether before and after are both there, and both pictures or both videos."""
        return self.before is not None and self.after is not None and self.before.is_video == self.after.is_video


def cards(jobs: Iterable[JobReport], axis: Axis, folder: Path, *, embeds: bool) -> Iterator[Card]:
    """Make the cards, one at a time: each may hold two pictures. Reads the disk.

    Args:
        jobs: The jobs.
        axis: The page's time axis.
        folder: The page's folder.
        embeds: Whether the cards contain small copies of the pictures.
    """
    show = partial(_show, folder=folder, embeds=embeds)
    for job in jobs:
        x, width = axis.place(job)
        after = None if job.after is None else show(job.after)
        yield Card(
            job=job,
            before=None if job.before is None else show(job.before),
            after=after,
            is_gone=job.fate is Fate.DONE and job.after is not None and after is None,
            bars=strip(job),
            x=x,
            width=width,
            durations=list(describe(job)),
            elapsed=seconds(job.elapsed_s),
        )


def will_embed(pictures: Pictures, jobs: int) -> bool:
    """Tell whether a page of so many jobs contains its pictures."""
    return can_copy() and (pictures == "embed" or (pictures == "auto" and jobs <= MOST_EMBEDDED))


def _show(path: Path, *, folder: Path, embeds: bool) -> Shown | None:
    extension = path.suffix.lower()
    is_video = extension in _VIDEOS
    try:
        size = path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):  # its folder cannot be looked into, or it has no name that a file can have
        return None
    if not size or not (is_video or extension in _PICTURES):
        return None
    copy = (first_frame if is_video else small_picture)(path) if embeds else None
    return Shown(href=link(path, folder), is_video=is_video, copy=copy, size=bytes_text(size))
