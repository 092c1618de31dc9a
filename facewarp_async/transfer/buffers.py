"""Buffers that are used again: fresh large ones cost more in page faults than reading into them does."""

from __future__ import annotations

MOST_KEPT = 64


class Buffers:
    """A pool of buffers of one size.

    Args:
        size: Of each, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """Return a buffer of any content."""
        return self._free.pop() if self._free else bytearray(self._size)

    def give_back(self, buffer: bytearray) -> None:
        """Have a buffer used again, unless a transport still sends from it: then it is left to the transport."""
        if len(self._free) < MOST_KEPT and not is_held(buffer):
            self._free.append(buffer)


def is_held(buffer: bytearray) -> bool:
    """Tell whether a view of a buffer is in use somewhere.

    Transports keep views of what they could not send at once: uvloop's, asyncio's since Python 3.12, TLS in a
    renegotiation. What is read into such a buffer would go out in place of what was written. A buffer of which there is
    a view cannot be resized, which is a test that knows nothing of transports.
    """
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return True
    return False
