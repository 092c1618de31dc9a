"""Writing the page: one file, whole or not at all, job by job."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TextIO

import anyio
import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from facewarp_async.errors import DiskFullError, OutputError
from facewarp_async.report.cards import Pictures, cards, will_embed
from facewarp_async.report.timeline import HEIGHT, WIDTH, Axis, areas, most_at_once
from facewarp_async.report.values import Fate, Phase, Report
from facewarp_async.text import seconds

_WRITTEN_AT_ONCE = 64 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}


async def write_page(report: Report, path: str | Path, *, pictures: Pictures = "auto") -> Path:
    """Write a report as one HTML page that asks nothing of any network, and return its path.

    It appears under its name when it is whole; one that exists is replaced. Cancelling leaves nothing behind.

    Args:
        report: What to tell.
        path: The file. Its folder is made. Links to media and results are relative to it.
        pictures: ``"embed"``: the page contains small copies of the pictures, for which the extra ``local`` is needed;
            ``"link"``: it shows the files themselves; ``"auto"``: it contains copies if they can be made and are few.

    Raises:
        OutputError: It cannot be written.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        file = await anyio.to_thread.run_sync(_begin, part)
        try:
            pieces = await anyio.to_thread.run_sync(_pieces, report, target, pictures)
            while await anyio.to_thread.run_sync(_write_some, pieces, file):
                pass
            await anyio.to_thread.run_sync(_end, file, part, target)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_give_up, file, part)
            raise
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{target}: the report cannot be written: {error.strerror}") from error
    return target


def _begin(part: Path) -> TextIO:
    part.parent.mkdir(parents=True, exist_ok=True)
    return part.open("w", encoding="utf-8", newline="\n")


def _write_some(pieces: Iterator[str], file: TextIO) -> bool:
    """Write some of the page; ``False`` at its end."""
    written = 0
    for piece in pieces:
        file.write(piece)
        written += len(piece)
        if written >= _WRITTEN_AT_ONCE:
            return True
    return False


def _end(file: TextIO, part: Path, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    part.replace(target)


def _give_up(file: TextIO, part: Path) -> None:
    try:
        file.close()
    finally:
        part.unlink(missing_ok=True)


def _pieces(report: Report, target: Path, pictures: Pictures) -> Iterator[str]:
    """Render the page in pieces: neither the page nor all of its pictures are ever in memory."""
    folder = target.parent.resolve()
    embeds = will_embed(pictures, len(report.jobs))
    axis = Axis(report.runs)
    style, script = _source("page.css"), _source("page.js")
    return (
        _environment()
        .get_template("page.html.jinja")
        .generate(
            report=report,
            fates=Fate,
            phases=Phase,
            axis=axis,
            areas=areas(report.jobs, axis),
            most=most_at_once(report.jobs),
            width=WIDTH,
            height=HEIGHT,
            cards=cards(report.jobs, axis, folder, embeds=embeds),
            embeds=embeds,
            style=Markup(style),  # noqa: S704 - the package's own
            script=Markup(script),  # noqa: S704 - the same
            policy=_policy(style, script),
            made_at=time.time(),
        )
    )


def _policy(style: str, script: str) -> str:
    """Return the page's security policy: its own style and script, pictures beside it and in it, nothing else."""
    beside = "'self' file: data:"
    return (
        f"default-src 'none'; img-src {beside}; media-src {beside}; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")


@cache
def _source(name: str) -> str:
    return (files("facewarp_async.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("facewarp_async.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "local_time": _local_time, "iso_time": _iso_time, "number": _number}
    return environment


def _local_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%-d %B %Y, %H:%M")


def _iso_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def _number(number: float) -> str:
    """Write a coordinate shortly, a count with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f") if isinstance(number, int) else f"{number:.1f}".removesuffix(".0")
