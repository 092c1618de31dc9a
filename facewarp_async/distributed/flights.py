"""Each content once: which of the workers uploads it, while the others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from attrs import define, field


@define(eq=False)
class _Flight:
    owner: Hashable
    landed: asyncio.Event = field(factory=asyncio.Event)


class Flights:
    """The uploads that are under way."""

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight] = {}

    async def begin(self, content: bytes, owner: Hashable) -> bool:
        """Begin an upload, or wait for the end of another's; ``True``: it has begun."""
        flight = self._flights.setdefault(content, _Flight(owner))
        if flight.owner is owner:
            return True
        await flight.landed.wait()
        return False

    def end(self, content: bytes, owner: Hashable) -> None:
        """End an upload, well or not. If it was not well, one of those that wait begins anew."""
        flight = self._flights.get(content)
        if flight is not None and flight.owner is owner:
            del self._flights[content]
            flight.landed.set()

    def end_all(self, owner: Hashable) -> None:
        """End the uploads of a worker that is gone."""
        for content in [content for content, flight in self._flights.items() if flight.owner is owner]:
            self.end(content, owner)
