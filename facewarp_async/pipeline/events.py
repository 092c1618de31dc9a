"""What a pipeline tells of itself while it runs, for progress bars and metrics."""

from __future__ import annotations

from attrs import frozen

from facewarp_async.errors import Stage
from facewarp_async.models import Job
from facewarp_async.pipeline.outcomes import Outcome


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
class JobEnded:
    """A job has its outcome, which may be held back for order.

    Attributes:
        index: The job's place among the jobs, from 0.
        outcome: What became of it.
    """

    index: int
    outcome: Outcome


Event = StageBegun | JobEnded
"""What `SwapPipeline` tells its `on_event` of."""
