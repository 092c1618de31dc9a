"""Bytes that were right once."""

from __future__ import annotations

from attrs import frozen
from hypothesis import strategies as st


@frozen
class Spoiling:
    """What is done to a proper request or answer: the bytes between two places are exchanged."""

    begin: float
    end: float
    piece: bytes

    def apply(self, proper: bytes) -> bytes:
        begin, end = sorted(round(share * len(proper)) for share in (self.begin, self.end))
        return proper[:begin] + self.piece + proper[end:]


_shares = st.floats(0, 1)
spoilings = st.builds(Spoiling, _shares, _shares, st.binary(max_size=10))
