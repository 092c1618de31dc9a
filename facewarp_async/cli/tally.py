"""How far a batch is, counted from the pipeline's events. Pure."""

from __future__ import annotations

from attrs import Factory, define

from facewarp_async.errors import Stage
from facewarp_async.pipeline import Completed, Event, Failed, StageBegun

_UPLOADED, _CREATED = 1, 2
_REACHED = {Stage.CREATE: _UPLOADED, Stage.WAIT: _CREATED, Stage.DOWNLOAD: _CREATED}


@define
class Tally:
    """Counts jobs. It remembers nothing of those that have ended.

    Attributes:
        total: How many there are; ``None`` until that is known.
        uploaded: Whose files are all at the service.
        created: Whose task was created.
        done: With a result.
        failed: Without.
        skipped: Not done because the batch was stopped.
    """

    total: int | None = None
    uploaded: int = 0
    created: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    _reached: dict[int, int] = Factory(dict)

    @property
    def ended(self) -> int:
        """How many have their outcome."""
        return self.done + self.failed + self.skipped

    def count(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, StageBegun):
            self._reach(event.index, _REACHED.get(event.stage, 0))
            return
        self._reached.pop(event.index, None)
        match event.outcome:
            case Completed():
                self.done += 1
            case Failed():
                self.failed += 1
            case _:
                self.skipped += 1

    def _reach(self, index: int, level: int) -> None:
        """Count a job once for each level, though a stage may begin again when a file has to be uploaded anew."""
        before = self._reached.get(index, 0)
        self._reached[index] = max(before, level)
        self.uploaded += before < _UPLOADED <= level
        self.created += before < _CREATED <= level

    def line(self) -> str:
        """Return it as one short line."""
        of = "" if self.total is None else f" of {self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done}{of} done{failed}, {self.created} created, {self.uploaded} uploaded"
