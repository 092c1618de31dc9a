"""Telling the caller how far a transfer is."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes moved so far and the bytes in all; the latter is 0 where it is not known."""


class CallbackError(Exception):
    """Carries an error of the caller's out, so that it is not taken for the connection's or the disk's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def tell(on_progress: ProgressCallback | None, moved: int, total: int) -> None:
    """Call back.

    Raises:
        CallbackError: The callback failed.
    """
    if on_progress is None:
        return
    try:
        on_progress(moved, total)
    except Exception as error:
        raise CallbackError(error) from error
