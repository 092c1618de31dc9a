"""Outcomes as JSON objects. Pure."""

from __future__ import annotations

from typing import Any

from facewarp_async.errors import FaceWarpError
from facewarp_async.models import Asset, Job
from facewarp_async.pipeline import Completed, Failed, Outcome, Skipped
from facewarp_async.pipeline.advice import next_step
from facewarp_async.spending import SpendingLimitError


def as_told(outcome: Outcome) -> Outcome:
    """Return an outcome as the user is told of it: a job that came upon the user's own limit was skipped, if nothing
    was paid for it.
    """
    if isinstance(outcome, Failed) and isinstance(outcome.error, SpendingLimitError) and outcome.task_id is None:
        return Skipped(job=outcome.job, reason=f"the batch was stopped: {outcome.error}")
    return outcome


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as an object that always has the same fields.

    They are ``media``, ``status`` (``completed``, ``failed`` or ``skipped``), ``path`` of the result, ``task_id``,
    ``error`` with ``type``, ``code``, ``message``, ``advice`` and ``paid`` (``null``: in doubt), ``stage`` in which it
    failed, ``reason`` why it was skipped, ``resumed`` whether that was in an earlier run, and ``seconds`` by stage.
    What does not apply is ``null``.
    """
    common = {
        "media": media_name(outcome.job),
        "path": None,
        "task_id": None,
        "error": None,
        "stage": None,
        "reason": None,
        "resumed": False,
    }
    match outcome:
        case Completed():
            return common | {
                "status": "completed",
                "path": None if outcome.path is None else str(outcome.path),
                "task_id": outcome.result.task_id,
                "resumed": outcome.resumed,
                "seconds": _seconds(outcome),
            }
        case Failed():
            return common | {
                "status": "failed",
                "task_id": outcome.task_id,
                "error": _error(outcome.error),
                "stage": str(outcome.stage),
                "resumed": outcome.resumed,
                "seconds": _seconds(outcome),
            }
        case _:
            return common | {"status": "skipped", "reason": outcome.reason, "seconds": {}}


def media_name(job: Job) -> str:
    """Return what to call a job's media."""
    return job.media.key if isinstance(job.media, Asset) else str(job.media)


def _error(error: FaceWarpError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "advice": next_step(error),
        "paid": error.paid,
    }


def _seconds(outcome: Completed | Failed) -> dict[str, float]:
    return {str(stage): round(duration_s, 3) for stage, duration_s in outcome.durations_s.items()}
