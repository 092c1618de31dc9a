"""Many jobs at once: bounded stages, outcomes in order, one bad job stopping nothing."""

from facewarp_async.pipeline.events import BytesSent, Event, JobEnded, StageBegun
from facewarp_async.pipeline.outcomes import BatchReport, Completed, Failed, Outcome, Skipped
from facewarp_async.pipeline.pipeline import SwapPipeline
from facewarp_async.pipeline.stream import OutcomeStream

__all__ = [
    "BatchReport",
    "BytesSent",
    "Completed",
    "Event",
    "Failed",
    "JobEnded",
    "Outcome",
    "OutcomeStream",
    "Skipped",
    "StageBegun",
    "SwapPipeline",
]
