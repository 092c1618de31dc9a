"""Python's collector of garbage, while very many tasks are waited for."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 256
"""From more tasks in flight on, going through their objects would hold up the event loop for tens of milliseconds."""

_SELDOM = 1000
_lock = threading.Lock()
_holders = 0
_before = _meanwhile = gc.get_threshold()


@contextmanager
def collecting_old_seldom() -> Iterator[None]:
    """Have Python look at old objects once in a thousand collections of younger ones, instead of once in ten.

    It goes through all of a process's old objects in one go, and a task that is waited for is about a hundred of them.
    The youngest, among which garbage is found, are looked at as before. What the program itself has set meanwhile
    is left as it is.
    """
    global _holders, _before, _meanwhile  # noqa: PLW0603 - the collector is the process's
    with _lock:
        _holders += 1
        if _holders == 1:
            _before = gc.get_threshold()
            gc.set_threshold(_before[0], _before[1], max(_before[2], _SELDOM))
            _meanwhile = gc.get_threshold()
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders and gc.get_threshold() == _meanwhile:
                gc.set_threshold(*_before)
