"""How far a run is, for the journal."""

from __future__ import annotations

import time
from collections import Counter

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import FaceWarpError
from facewarp_async.journal import Ending, RunRecord
from facewarp_async.pipeline.stream import OutcomeStream


class RunNotes:
    """Knows what there is to say of a run.

    Args:
        client: Makes its calls. Those that others make with it at the same time are counted too.
    """

    def __init__(self, client: FaceSwapClient) -> None:
        self._client = client
        self._began_at = 0.0
        self._calls_before: dict[str, int] = {}
        self.streams: list[OutcomeStream] = []
        self.stopped_by: FaceWarpError | None = None
        self.has_ended = False

    def begin(self) -> None:
        """Count from now on."""
        self._began_at, self._calls_before = time.time(), self._client.calls_made

    def look(self) -> RunRecord:
        """Return what there is to say."""
        return RunRecord(
            provider=self._client.provider.name,
            began_at=self._began_at,
            seen_at=time.time(),
            calls=dict(Counter(self._client.calls_made) - Counter(self._calls_before)),
            ending=self._ending() if self.has_ended else None,
            reason="" if self.stopped_by is None else str(self.stopped_by),
        )

    def _ending(self) -> Ending:
        if self.stopped_by is not None:
            return Ending.STOPPED
        return Ending.FINISHED if all(stream.is_complete for stream in self.streams) else Ending.INTERRUPTED
