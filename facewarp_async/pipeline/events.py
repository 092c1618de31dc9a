"""What a pipeline tells of itself while it runs, for progress bars and metrics."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from facewarp_async.errors import Stage
from facewarp_async.models import Job
from facewarp_async.pipeline.outcomes import Outcome
from facewarp_async.urls import Location


@frozen(kw_only=True)
class StageBegun:
    """A job has begun a stage, or waits for its turn in it. A stage may begin more than once.

    Attributes:
        index: The job's place among the jobs, from 0.
        job: The job.
        stage: The stage.
        task_id: The last task that was created for the job, which is what was paid for.
    """

    index: int
    job: Job
    stage: Stage
    task_id: int | None = None


@frozen(kw_only=True)
class BytesSent:
    """A part of a file has left for the service: told about once a megabyte, and at the file's end.

    What other jobs have uploaded is not told again for a job that shares it. A file that is sent anew begins at 0.

    Attributes:
        index: The place among the jobs, from 0, of the job that uploads.
        job: That job.
        file: The file: the job's media or a face.
        sent: How many of its bytes have left.
        size: How many it has.
    """

    index: int
    job: Job
    file: Location
    sent: int
    size: int


@frozen(kw_only=True)
class JobEnded:
    """A job has its outcome, which may be held back for order.

    Attributes:
        index: The job's place among the jobs, from 0.
        outcome: What became of it.
    """

    index: int
    outcome: Outcome


Event = StageBegun | BytesSent | JobEnded
"""What `SwapPipeline` tells its `on_event` of."""

_TOLD_BYTES = 1024 * 1024


class Sendings:
    """Tells of the bytes that one job uploads, seldom enough to cost next to nothing.

    Args:
        index: The job's place.
        job: The job.
        tell: Is told.
    """

    def __init__(self, index: int, job: Job, tell: Callable[[Event], None]) -> None:
        self._index = index
        self._job = job
        self._tell = tell
        self._told = 0

    def __call__(self, file: Location, sent: int, size: int) -> None:
        """Take note that so many bytes of a file have left."""
        if sent == size or not 0 <= sent - self._told < _TOLD_BYTES:
            self._told = sent
            self._tell(BytesSent(index=self._index, job=self._job, file=file, sent=sent, size=size))
