"""Addresses of files, relative to a page; pure. Whatever a file is called, its address leads to it and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def link(target: Path, folder: Path) -> str:
    """Return a file's address for a page in a folder. Both are absolute.

    It begins with a dot, so that no name is taken for a scheme, and all its bytes but letters, digits, ``/``, ``-``,
    ``.``, ``_`` and ``~`` are escaped: names on a disk may be no text at all.
    """
    way = os.path.relpath(os.fsencode(target), os.fsencode(folder))
    return quote(b"./" + way, safe="/")
