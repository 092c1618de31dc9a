"""Opening a file without waiting for the disk, where the system can do that."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

_OPENAT2 = 437
"""The system call's number, on all processors that there are wheels for: neither Python nor the C library names it."""

_HERE = -100
"""``AT_FDCWD``: relative paths begin at the process's folder."""

_RESOLVE_CACHED = 0x20
"""Fail rather than read a folder from the disk: what ``RWF_NOWAIT`` is to reading. Linux knows it since 5.12."""


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_now(path: Path) -> int:
    """Open a file to read it, if the way to it is in memory.

    Returns:
        Its descriptor; -1 where it has to be opened the usual way, which then tells what is wrong, if anything is.
    """
    return -1 if _openat2 is None else _openat2(os.fsencode(path))


def _find() -> Callable[[bytes], int] | None:
    if sys.platform != "linux":
        return None
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    how = _How(flags=os.O_RDONLY | os.O_CLOEXEC, resolve=_RESOLVE_CACHED)
    number, here = ctypes.c_long(_OPENAT2), ctypes.c_long(_HERE)
    given, size = ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))

    def openat2(path: bytes) -> int:
        descriptor: int = call(number, here, path, given, size)
        return descriptor

    return openat2


_openat2 = _find()
