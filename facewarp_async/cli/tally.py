"""How far a batch is, counted from the pipeline's events, and how long it will still take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from attrs import Factory, define, frozen

from facewarp_async.cli.records import as_told, media_name
from facewarp_async.errors import InDoubtError, Stage
from facewarp_async.models import DetectFaces, ImageSwap, MultiFaceSwap, TaskKind, VideoSwap
from facewarp_async.pipeline import BytesSent, Completed, Event, Failed, Outcome, StageBegun
from facewarp_async.policy.polling import TimeLeft
from facewarp_async.policy.remaining import Foresee, Remaining
from facewarp_async.text import bytes_text, seconds

_LATE_S, _SAMPLES = 5.0, 1000
_LITTLE = 0.1
"""The least time that is left is not told if it is so small a share of the most."""

_KINDS = {
    ImageSwap: TaskKind.IMAGE_SWAP,
    VideoSwap: TaskKind.VIDEO_SWAP,
    MultiFaceSwap: TaskKind.MULTI_IMAGE_SWAP,  # or a clip's: what is in the file only its check finds out
    DetectFaces: TaskKind.FACE_DETECTION,
}
MOST_NAMES = 200
"""How many jobs in doubt are remembered by name; more are counted."""
_UPLOADED, _CREATED = 1, 2
_REACHED = {Stage.CREATE: _UPLOADED, Stage.WAIT: _CREATED, Stage.DOWNLOAD: _CREATED}


@frozen
class OpenTask:
    """A task that was created and paid for, and whose result is not there yet."""

    task_id: int
    media: str


@define
class Tally:
    """Counts jobs. Of those that have ended it remembers only the names of some that are in doubt.

    Attributes:
        total: How many there are; ``None`` until that is known.
        uploaded: Whose files are all at the service.
        created: Whose task was created.
        done: With a result.
        failed: Without.
        skipped: Not done because the batch was stopped.
        done_before: How many of those that are done an earlier run had done.
        failed_before: How many of those that failed had failed in an earlier run, and were not tried again.
        in_doubt: How many of those that failed may have been paid for all the same.
        doubted: The media of the first of them.
        sent_bytes: How many bytes of files have left in this run, those that were sent again included.
        rate: How many calls a second may leave; ``None`` for any number.
        clock: Steady seconds.
        foresee: Says what is known of how long tasks will still take.
    """

    total: int | None = None
    uploaded: int = 0
    created: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    done_before: int = 0
    failed_before: int = 0
    in_doubt: int = 0
    doubted: list[str] = Factory(list)
    sent_bytes: int = 0
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    foresee: Foresee | None = None
    _remaining: Remaining = Factory(lambda tally: Remaining(foresee=tally.foresee), takes_self=True)
    _left: TimeLeft | None = None
    _never_created: int = 0
    _reached: dict[int, int] = Factory(dict)
    _open: dict[int, OpenTask] = Factory(dict)
    _running: set[int] = Factory(set)
    _sending: dict[int, BytesSent] = Factory(dict)
    _sent_at: deque[tuple[float, int]] = Factory(lambda: deque(maxlen=_SAMPLES))

    @property
    def running(self) -> int:
        """How many tasks were created and have not ended."""
        return len(self._running)

    @property
    def uploaded_share(self) -> float:
        """How many are uploaded, with the parts of the media that are on their way. May be asked by another thread."""
        sendings = [each for each in list(self._sending.values()) if each.file == each.job.media]
        parts = [each.sent / each.size for each in sendings if self._reached.get(each.index, 0) < _UPLOADED]
        return self.uploaded + sum(parts)

    @property
    def ended(self) -> int:
        """How many have their outcome."""
        return self.done + self.failed + self.skipped

    @property
    def open_tasks(self) -> list[OpenTask]:
        """The tasks of jobs that have not ended, in the order of the jobs."""
        return [task for _, task in sorted(self._open.items(), key=lambda item: item[0])]

    def count(self, event: Event) -> None:
        """Take note of an event."""
        now = self.clock()
        if isinstance(event, BytesSent):
            self._send(event, now)
            return
        if isinstance(event, StageBegun) and event.stage is Stage.WAIT:
            self._running.add(event.index)
        else:
            self._running.discard(event.index)
        if isinstance(event, StageBegun):
            self._remaining.begun(now)
            if event.stage is Stage.CHECK:
                self._remaining.expected(event.index, _KINDS[type(event.job)])
            level = _REACHED.get(event.stage, 0)
            if self._reached.get(event.index, 0) < _UPLOADED <= level:
                self._remaining.uploaded(now)
            if event.stage is Stage.WAIT:
                self._remaining.created(event.index, now)
            self._reach(event.index, level)
            if event.task_id is not None:
                self._open[event.index] = OpenTask(event.task_id, media_name(event.job))
            return
        self._never_created += self._reached.get(event.index, 0) < _CREATED
        self._remaining.ended(event.index, now)
        if isinstance(event.outcome, Completed) and event.outcome.resumed:
            self._reach(event.index, _CREATED)
        self._reached.pop(event.index, None)
        self._sending.pop(event.index, None)
        self._open.pop(event.index, None)
        self._end(as_told(event.outcome))

    def look_ahead(self) -> None:
        """Find out for how long it will still go on. It may take some milliseconds: once a second is enough."""
        # What ends without a task (done before, failed before) costs no time worth counting.
        self._remaining.total = None if self.total is None else self.total - self._never_created
        self._remaining.rate = self.rate
        self._left = self._remaining.left(self.clock())

    def _send(self, event: BytesSent, now: float) -> None:
        before = self._sending.get(event.index)
        is_same = before is not None and before.file == event.file and before.sent <= event.sent
        self.sent_bytes += event.sent - before.sent if before is not None and is_same else event.sent
        self._sent_at.append((now, self.sent_bytes))
        self._sending[event.index] = event

    def bytes_per_s(self) -> float:
        """Return how many bytes have left a second of late, 0 where none have. May be asked by another thread."""
        now = self.clock()
        late = [sample for sample in self._sent_at.copy() if sample[0] >= now - _LATE_S]
        if len(late) < 2:
            return 0.0
        (begun, first), (_, last) = late[0], late[-1]
        return (last - first) / max(now - begun, 0.1)

    def _end(self, outcome: Outcome) -> None:
        match outcome:
            case Completed():
                self.done += 1
                self.done_before += outcome.resumed
            case Failed():
                self.failed += 1
                self.failed_before += outcome.resumed
                if isinstance(outcome.error, InDoubtError):
                    self._doubt(media_name(outcome.job))
            case _:
                self.skipped += 1

    def _doubt(self, media: str) -> None:
        self.in_doubt += 1
        if len(self.doubted) < MOST_NAMES:
            self.doubted.append(media)

    def _reach(self, index: int, level: int) -> None:
        """Count a job once for each level, though a stage may begin again when a file has to be uploaded anew."""
        before = self._reached.get(index, 0)
        self._reached[index] = max(before, level)
        self.uploaded += before < _UPLOADED <= level
        self.created += before < _CREATED <= level

    def left(self) -> str:
        """Return how long it will still go on, as found out last, if it was. May be asked by another thread."""
        left = self._left
        if left is None or self.ended == self.total:
            return ""
        if left.least_s == left.most_s:
            return f", about {seconds(left.most_s) if left.most_s >= 60 else f'{left.most_s:.0f} s'} left"
        (least, unit), (most, most_unit) = _rough(left.least_s), _rough(left.most_s)
        if left.least_s < _LITTLE * left.most_s or (least, unit) == (most, most_unit):
            return f", up to {most} {most_unit} left"
        return f", {least}{'' if unit == most_unit else f' {unit}'} to {most} {most_unit} left"

    def line(self) -> str:
        """Return it as one short line."""
        of = "" if self.total is None else f" of {self.total}"
        before = f" ({self.done_before} done before)" if self.done_before else ""
        failed = f", {self.failed} failed" if self.failed else ""
        running = f" ({self.running} running)" if self.running else ""
        sent = f" ({bytes_text(self.sent_bytes)})" if self.sent_bytes else ""
        return f"{self.done}{of} done{before}{failed}, {self.created} created{running}, {self.uploaded} uploaded{sent}"

    def summary(self) -> str:
        """Return it as one line for the end."""
        before = f" ({self.done_before} done before)" if self.done_before else ""
        notes = [f"{self.failed_before} before"] * bool(self.failed_before) + [f"{self.in_doubt} in doubt"] * bool(
            self.in_doubt
        )
        failed = f" ({', '.join(notes)})" if notes else ""
        return f"{self.done} done{before}, {self.failed} failed{failed}, {self.skipped} skipped"


def _rough(duration_s: float) -> tuple[int, str]:
    """Return about how long that is."""
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if duration_s >= 2 * unit_s:
            return round(duration_s / unit_s), unit
    return round(duration_s) if duration_s < 20 else 5 * round(duration_s / 5), "s"
