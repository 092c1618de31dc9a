"""A connection to the coordinator without a network."""

from __future__ import annotations

import asyncio
from typing import Any


class Wire:
    """A comm of which comes what is put into it."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.answers: asyncio.Queue[object] = asyncio.Queue()
        self.is_closed = False

    async def read(self) -> object:
        return await self.answers.get()

    async def write(self, message: list[tuple[Any, ...]]) -> None:
        self.said += message

    def abort(self) -> None:
        self.is_closed = True
