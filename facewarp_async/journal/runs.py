"""What the journal knows of each run of a batch, as values; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import field, frozen


class Ending(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    """All its jobs have their outcome."""
    STOPPED = "stopped"
    """An error has stopped it, such as one that says that there are no credits left."""
    INTERRUPTED = "interrupted"
    """It was cancelled, or its pipeline was left."""


@frozen(kw_only=True)
class RunRecord:
    """One run of a batch. Times are in seconds since 1970.

    Attributes:
        provider: The service's name.
        began_at: When it began.
        seen_at: When this was written: at the end, or, of a run that was killed, about a second before that.
        calls: How many calls had left by then, by their paths.
        ending: How it ended; ``None`` where it was killed, or still runs.
        reason: Why it was stopped, else empty.
    """

    provider: str
    began_at: float
    seen_at: float
    calls: Mapping[str, int] = field(factory=dict)
    ending: Ending | None = None
    reason: str = ""

    def to_row(self) -> tuple[Any, ...]:
        """Return the values of `RUN_COLUMNS`."""
        ending = None if self.ending is None else self.ending.value
        reason = self.reason.encode(errors="backslashreplace").decode()
        return (
            self.provider,
            self.began_at,
            self.seen_at,
            json.dumps(dict(self.calls)),
            ending,
            reason,
        )

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> RunRecord:
        """Read the values of `RUN_COLUMNS`."""
        provider, began_at, seen_at, calls, ending, reason = row
        return cls(
            provider=provider,
            began_at=began_at,
            seen_at=seen_at,
            calls={str(path): int(number) for path, number in json.loads(calls).items()},
            ending=None if ending is None else Ending(ending),
            reason=reason,
        )


RUN_COLUMNS = "provider, began_at, seen_at, calls, ending, reason"
