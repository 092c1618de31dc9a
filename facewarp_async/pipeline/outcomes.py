"""What became of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import Factory, field, frozen

from facewarp_async.errors import FaceWarpError, Stage
from facewarp_async.models import Job, Result
from facewarp_async.urls import Location


@frozen(kw_only=True)
class Completed:
    """The job is done.

    Attributes:
        job: The job.
        result: What the service made.
        path: The file it was written to, a `RemoteFile` where that is elsewhere; ``None`` for a detection, or where the
            pipeline has no output folder.
        resumed: Whether it was done in an earlier run, as the journal says; the result's URLs are empty then.
        durations_s: Seconds by stage, waiting for its turn included.
    """

    job: Job
    result: Result
    path: Location | None = None
    resumed: bool = False
    durations_s: Mapping[Stage, float] = Factory(dict)


@frozen(kw_only=True)
class Failed:
    """The job failed, and no other did because of it.

    Attributes:
        job: The job.
        error: Why.
        stage: Where on its way it was.
        task_id: The last task that was created for it: it was paid for, and its result may still be fetched by this id.
        resumed: Whether it failed for good in an earlier run, as the journal says, and was not tried again.
        durations_s: Seconds by stage, waiting for its turn included.
    """

    job: Job
    error: FaceWarpError
    stage: Stage
    task_id: int | None = None
    resumed: bool = False
    durations_s: Mapping[Stage, float] = Factory(dict)


@frozen(kw_only=True)
class Skipped:
    """The job was not begun, or ended before its task was created, because the batch was stopped.

    Nothing was paid for it in this run. What the journal knows of it from an earlier one is kept, but was not looked
    at.

    Attributes:
        job: The job.
        reason: Why, for people.
    """

    job: Job
    reason: str


Outcome = Completed | Failed | Skipped
"""What became of a job: each job has exactly one."""


@frozen(kw_only=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        outcomes: One for each job, in the order of the jobs.
        elapsed_s: Seconds from the first job to the last outcome.
        stopped_by: The error that stopped the batch, if one did.
    """

    outcomes: list[Outcome]
    elapsed_s: float
    stopped_by: FaceWarpError | None = None
    _counts: Counter[type] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_counts", Counter(type(outcome) for outcome in self.outcomes))

    @property
    def completed(self) -> int:
        """How many jobs are done."""
        return self._counts[Completed]

    @property
    def failed(self) -> int:
        """How many jobs failed."""
        return self._counts[Failed]

    @property
    def skipped(self) -> int:
        """How many jobs were not done."""
        return self._counts[Skipped]

    @property
    def durations_s(self) -> dict[Stage, float]:
        """Seconds by stage, summed over all jobs."""
        total: Counter[Stage] = Counter()
        for outcome in self.outcomes:
            if not isinstance(outcome, Skipped):
                total.update(outcome.durations_s)
        return dict(total)
