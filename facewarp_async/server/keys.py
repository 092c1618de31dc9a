"""Names for objects, made as the vendors make theirs."""

from __future__ import annotations

import re
from datetime import datetime
from uuid import uuid4

_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})$", re.ASCII)


def upload_key(file_name: str, *, account: str, now: datetime) -> str:
    """Return a new key for an upload; of the file's name only the extension goes in."""
    match = _EXTENSION.search(file_name)
    extension = match[1].lower() if match else "bin"
    return _temporary(extension, account=account, now=now)


def crop_key(extension: str, *, account: str, now: datetime) -> str:
    """Return a new key for a face that was found; the extension has no dot."""
    return _temporary(extension, account=account, now=now)


def result_key(extension: str, *, account: str, now: datetime) -> str:
    """Return a new key for a result; the extension has no dot."""
    return f"{account}/asset/{now:%Y%m}/{_name(now)}.{extension}"


def _temporary(extension: str, *, account: str, now: datetime) -> str:
    return f"temporary/{now:%Y%m%d}/{account}/{_name(now)}.{extension}"


def _name(now: datetime) -> str:
    return f"{int(now.timestamp() * 1000)}-{uuid4()}"
