"""Listing a folder that lies elsewhere. It may block."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from attrs import frozen

from facewarp_async.errors import MissingFileError
from facewarp_async.remote.store import locate, reading
from facewarp_async.urls import RemoteFile


@frozen(kw_only=True)
class Listed:
    """Something in a folder.

    Attributes:
        name: What it is called there.
        file: Its URL.
        path: What its file system calls it.
        is_folder: Whether more lies below it.
    """

    name: str
    file: RemoteFile
    path: str
    is_folder: bool


def list_folder(folder: RemoteFile) -> list[Listed]:
    """Return what lies in a folder, in the order of the names.

    Raises:
        MissingFileError: It is none, or may not be listed.
        TransportError: The store cannot be reached.
    """
    with reading(folder):
        place = locate(folder)
        place.fs.invalidate_cache(place.path)  # what is new is to be seen
        entries = place.fs.ls(place.path, detail=True)
        place.fs.invalidate_cache(place.path)  # and what was seen is not to be kept
    base = place.path.partition("?")[0] if folder.is_encoded else place.path
    base = base.rstrip("/")
    if any(entry["name"] == base and entry["type"] != "directory" for entry in entries):
        raise MissingFileError(f"{folder}: is a file, expected a folder")
    found: dict[str, Listed] = {}
    for entry in entries:
        path: str = entry["name"]
        step = path[len(base) + 1 :].rstrip("/")
        # A folder may be listed as an object in itself, an object's name may have two slashes: these lead nowhere.
        if path.startswith(f"{base}/") and step and "/" not in step:
            name = unquote(step) if folder.is_encoded else step
            file = RemoteFile(path) if folder.is_encoded else folder.joined(step)
            is_folder = entry["type"] == "directory"
            found[path] = Listed(name=name, file=file, path=path.rstrip("/"), is_folder=is_folder)
    return sorted(found.values(), key=lambda listed: listed.name)


def paths_in_store(store: RemoteFile, files: Iterable[RemoteFile]) -> frozenset[str]:
    """Return what the file system of one URL calls others, of those that it knows."""
    place = locate(store)
    places = [locate(file) for file in files]
    return frozenset(other.path.rstrip("/") for other in places if other.fs == place.fs)
