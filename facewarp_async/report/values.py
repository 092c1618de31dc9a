"""What a report says, as values; pure. All times are in seconds since 1970."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from os.path import commonprefix
from pathlib import Path

from attrs import define, frozen

from facewarp_async.journal import Ending


class Fate(StrEnum):
    """What became of a job; the values are what people are told, in the order in which they should look."""

    FAILED = "failed"
    IN_DOUBT = "in doubt"
    UNFINISHED = "not finished"
    DONE = "done"


class Phase(StrEnum):
    """What a job was at; the values are what people are told."""

    CHECK = "looking at its files"
    UPLOAD = "upload"
    TURN = "waiting for its turn"
    SERVICE = "processing at the service"
    DOWNLOAD = "download"


@frozen
class Span:
    """From when until when a job was at something."""

    phase: Phase
    begin: float
    end: float

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.end - self.begin


@frozen(kw_only=True)
class JobReport:
    """What there is to say of a job.

    Attributes:
        media: What its media is called, for people.
        before: The media's file; ``None`` where it is no file, or was not noted.
        after: The result's file, if there is one on this machine.
        elsewhere: Where the result is else, for people; empty if it is not.
        what: What was asked for.
        fate: What became of it.
        reason: Why it has no result.
        advice: What to do about that.
        cost: Whether it cost credits all the same.
        task_ids: The tasks that it was made by, or waits for.
        created: How many tasks were created for it in all runs, and paid for.
        spans: What it was at and when, in the order of time.
        is_earlier: Whether nothing was done for it in the last run.
    """

    media: str
    before: Path | None
    after: Path | None
    what: str
    fate: Fate
    elsewhere: str = ""
    reason: str = ""
    advice: str = ""
    cost: str = ""
    task_ids: Sequence[int] = ()
    created: int = 0
    spans: Sequence[Span] = ()
    is_earlier: bool = False

    @property
    def elapsed_s(self) -> float:
        """How long it was worked on, in all runs."""
        return sum(span.duration_s for span in self.spans)

    @property
    def durations(self) -> dict[Phase, float]:
        """Seconds by phase."""
        total: dict[Phase, float] = {}
        for span in self.spans:
            total[span.phase] = total.get(span.phase, 0.0) + span.duration_s
        return total


@frozen(kw_only=True)
class RunReport:
    """What there is to say of a run.

    Attributes:
        provider: The service's name.
        began_at: When it began.
        ended_at: When it ended; of one that was killed, when it was last seen.
        ending: How it ended; ``None``: it was killed.
        reason: Why it was stopped, else empty.
        calls: How many calls it has made, by what they were for; of one that was killed, at least so many.
        created: How many tasks it has created.
    """

    provider: str
    began_at: float
    ended_at: float
    ending: Ending | None
    reason: str
    calls: Mapping[str, int]
    created: int

    @property
    def elapsed_s(self) -> float:
        """How long it took."""
        return max(self.ended_at - self.began_at, 0.0)


@define(kw_only=True, slots=False)
class Report:
    """What there is to say of a batch.

    Attributes:
        title: What it is called.
        jobs: Its jobs, in the order of `Fate` and then of their names.
        runs: Its runs, the first one first; none of a batch that was run before runs were noted.
        created: How many tasks were created in all runs.
    """

    title: str
    jobs: Sequence[JobReport]
    runs: Sequence[RunReport]
    created: int

    @cached_property
    def counts(self) -> dict[Fate, int]:
        """How many jobs have met each fate."""
        counter = Counter(job.fate for job in self.jobs)
        return {fate: counter[fate] for fate in Fate}

    @cached_property
    def folder(self) -> str:
        """The folder that all media lie in, with its ``/``; empty where they have none in common."""
        common = commonprefix([job.media for job in self.jobs])  # noqa: RUF071 - cut at a folder below
        return common[: common.rfind("/") + 1]

    @property
    def is_free(self) -> bool:
        """Whether no task has cost credits, because all were the local service's."""
        return bool(self.runs) and all(run.provider == "local" for run in self.runs)

    @property
    def calls(self) -> int | None:
        """How many calls were made in all runs; ``None`` where that was not noted."""
        return sum(sum(run.calls.values()) for run in self.runs) if self.runs else None
