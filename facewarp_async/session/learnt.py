"""What was learnt of how long tasks take, kept between runs in the user's cache directory. Losing it does no harm."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from facewarp_async.config import Provider
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling

logger: logging.Logger = logging.getLogger(__name__)

CACHE_DIR_VARIABLE = "FACEWARP_CACHE_DIR"
_FOLDER = "facewarp-async"
_VERSION = 2
_MOST_BYTES = 64 * 1024
_TRUSTED = 4
"""What is kept counts as so many observations: another service may answer there by now."""


class LearntFile:
    """Gives a policy what an earlier run has learnt of a service, and keeps what it learns.

    The file is read and written in a thread. One that is missing, damaged, not to be read or not to be written is as
    good as none; of several processes that write it, the last one wins.

    Args:
        path: The file, of this service alone.
        base_url: The service's.
        policy: What learns.
    """

    def __init__(self, path: Path, base_url: str, policy: LearntPolling) -> None:
        self.path = path
        self._base_url = base_url
        self._policy = policy
        self._is_read = self._is_kept = False

    async def recall(self) -> None:
        """Read the file, the first time that this is called. Others do not wait for that."""
        if self._is_read:
            return
        self._is_read = True
        for kind, durations in (await anyio.to_thread.run_sync(self._read)).items():
            self._policy.adopt(kind, durations)

    async def keep(self) -> None:
        """Write down what is worth keeping, once. Cancelling does not interrupt it."""
        learnt = self._policy.settled()
        if not learnt or self._is_kept:
            return
        self._is_kept = True
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._write, learnt)

    def _read(self) -> dict[TaskKind, Durations]:
        try:
            with self.path.open("rb") as file:
                return parse(file.read(_MOST_BYTES), base_url=self._base_url)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.debug("what was learnt is not read: %s", error)
            return {}

    def _write(self, learnt: Mapping[TaskKind, Durations]) -> None:
        known = {**self._read(), **learnt}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _replace(self.path, dump(known, base_url=self._base_url))
        except OSError as error:
            logger.debug("what was learnt is not kept: %s", error)


def _replace(path: Path, body: bytes) -> None:
    number, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(body)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def dump(learnt: Mapping[TaskKind, Durations], *, base_url: str) -> bytes:
    """Write down what was learnt of a service."""
    kinds = {
        kind.value: {"typical_s": round(durations.typical_s, 3), "spread": round(durations.spread, 3)}
        for kind, durations in learnt.items()
    }
    return json.dumps({"version": _VERSION, "base_url": base_url, "kinds": kinds}, indent=1).encode()


def parse(body: bytes, *, base_url: str) -> dict[TaskKind, Durations]:
    """Read what was learnt of a service. Kinds that are not known or senseless are left out.

    Raises:
        ValueError: It is no such document, or another service's.
    """
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION or document.get("base_url") != base_url:
        raise ValueError("not what was learnt of this service")
    kinds, names = document.get("kinds"), {kind.value: kind for kind in TaskKind}
    if not isinstance(kinds, dict):
        raise ValueError("it has no kinds")
    read = {names[name]: _parse_durations(value) for name, value in kinds.items() if name in names}
    return {kind: durations for kind, durations in read.items() if durations is not None}


def _parse_durations(value: Any) -> Durations | None:
    if not isinstance(value, dict):
        return None
    typical_s, spread = value.get("typical_s"), value.get("spread")
    return Durations(typical_s, spread, seen=_TRUSTED) if _is_positive(typical_s) and _is_positive(spread) else None


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def learnt_path(provider: Provider, cache_dir: str | Path | bool, environ: Mapping[str, str]) -> Path | None:
    """Say where what is learnt of a provider is kept; ``None``: nowhere.

    Args:
        provider: The service. Nothing is kept of one on this machine.
        cache_dir: A folder, ``False`` for none, or ``True`` for what ``FACEWARP_CACHE_DIR`` says: a folder, or nothing
            if it is empty. If it is not set, the user's cache directory.
        environ: The environment variables.
    """
    if cache_dir is False or _is_loopback(provider.base_url):
        return None
    folder = _default_dir(environ) if cache_dir is True else Path(cache_dir)
    name = hashlib.sha256(provider.base_url.encode()).hexdigest()[:16]
    return None if folder is None else folder / f"polling-{name}.json"


def _default_dir(environ: Mapping[str, str]) -> Path | None:
    if (given := environ.get(CACHE_DIR_VARIABLE)) is not None:
        return Path(given) if given else None
    return user_cache_dir(environ)


def user_cache_dir(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path | None:
    """Return the package's folder in the user's cache directory, as each system has it; ``None``: there is none."""
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return Path(local) / _FOLDER / "Cache" if local else None
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where there is none
    has_home = Path(home).is_absolute()
    if platform == "darwin":
        return Path(home) / "Library" / "Caches" / _FOLDER if has_home else None
    xdg = environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():  # the specification says to ignore a relative one
        return Path(xdg) / _FOLDER
    return Path(home) / ".cache" / _FOLDER if has_home else None


def _is_loopback(base_url: str) -> bool:
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
