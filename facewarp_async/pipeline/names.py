"""Where results go: names that stay in the output folder and never collide. Pure."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import overload

from facewarp_async.models import Asset, Job, MediaType, SwapResult, VideoResult
from facewarp_async.pipeline.fingerprints import Fingerprints
from facewarp_async.urls import Location, RemoteFile

_EXTENSIONS = {media_type.extension for media_type in MediaType} | {".jpeg"}
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f\\]")
_LONGEST_BYTES = 200
"""Leaves room below the usual 255 bytes for a number, the extension and ``.part``."""


class NameBook:
    """Gives each job a name of its own below the output folder, without extension.

    Names are told apart as a file system would that ignores case and composition of letters. The names given depend on
    nothing but the jobs and their order. For each name eight bytes are kept.
    """

    def __init__(self) -> None:
        self._taken = Fingerprints()

    def claim(self, job: Job) -> str:
        """Return the job's name, with ``/`` between folders; a number is added where the name is taken."""
        wanted = _wanted(job)
        name, number = wanted, 1
        while not self._taken.add(_fingerprint(name)):
            number += 1
            name = f"{wanted}-{number}"
        return name


def _fingerprint(name: str) -> int:
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
    return int.from_bytes(hashlib.blake2b(folded.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _wanted(job: Job) -> str:
    if job.name is not None:
        name = job.name
    elif isinstance(job.media, Asset):
        name = PurePosixPath(job.media.key).stem
    else:
        name = job.media.stem
    parts = [_safe(part) for part in name.split("/")]
    return "/".join(part for part in parts if part) or "result"


def _safe(part: str) -> str:
    """Make one step of a path harmless: no way up, no separator, no control character, no reserved or long name."""
    part = _UNSAFE.sub("_", part).rstrip(". ")
    if _RESERVED.fullmatch(part):
        part = f"_{part}"
    return _cut(part, _LONGEST_BYTES)


def _cut(part: str, longest: int) -> str:
    """Return a name of at most so many bytes; one that had to be cut ends with a mark of its own."""
    encoded = part.encode("utf-8", "surrogateescape")
    if len(encoded) <= longest:
        return part
    mark = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return encoded[: longest - len(mark) - 1].decode("utf-8", "ignore") + f"-{mark}"


def with_ending(stem: str, ending: str) -> str:
    """Return a name with an ASCII ending that stays whole, also where the name before it has to be cut."""
    return _cut(stem, _LONGEST_BYTES - len(ending)) + ending


@overload
def target_path(output_dir: Path, name: str, result: SwapResult) -> Path: ...
@overload
def target_path(output_dir: Location, name: str, result: SwapResult) -> Location: ...
def target_path(output_dir: Location, name: str, result: SwapResult) -> Location:
    """Return the file for a result: the job's name with the extension of the result's key, if that is a known one."""
    extension = PurePosixPath(result.key).suffix.lower()
    if extension not in _EXTENSIONS:
        extension = (MediaType.MP4 if isinstance(result, VideoResult) else MediaType.PNG).extension
    file = f"{name}{extension}"
    return output_dir.joined(file) if isinstance(output_dir, RemoteFile) else output_dir / file
