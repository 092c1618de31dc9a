"""Failed jobs in words: what happened, whether it cost anything, what to do next. Pure."""

from __future__ import annotations

from facewarp_async.cli.text import visible
from facewarp_async.errors import (
    FacePolicyError,
    FaceWarpError,
    InputError,
    MediaPolicyError,
    NoFaceError,
    OutputError,
    RateLimitedError,
    Recovery,
    UploadRejectedError,
)
from facewarp_async.pipeline import Failed

_NEXT: list[tuple[type[FaceWarpError], str]] = [
    (NoFaceError, "Use pictures in which the face is upright, uncovered and not too small"),
    (MediaPolicyError, "Leave this file out: the service would refuse it again"),
    (FacePolicyError, "Use another face: the service would refuse this one again"),
    (UploadRejectedError, "Check that the file opens in a viewer, then run it again"),
    (InputError, "Repair the file or leave it out"),
    (OutputError, "Free the place or choose another --out, and run it again"),
    (RateLimitedError, "Run it again with a lower --rps"),
]


def failure_text(outcome: Failed, *, is_free: bool = False) -> str:
    """Return one line about a failed job.

    Args:
        outcome: What became of it.
        is_free: Whether the service takes no credits, so that there is nothing to say of them.
    """
    error = outcome.error
    media, what = visible(outcome.job.media), visible(error)
    sentences = [what if what.startswith(media) else f"{media}: {what}"]
    if not is_free:
        sentences.append(_cost(error, outcome.task_id))
    if not error.advice:
        sentences.append(_next_step(error))
    return ". ".join(sentence.rstrip(".") for sentence in sentences)


def _cost(error: FaceWarpError, task_id: int | None) -> str:
    if error.paid is None:
        return "Credits may have been spent"
    return "No credits were spent" if task_id is None else f"Credits were spent on task {task_id}"


def _next_step(error: FaceWarpError) -> str:
    for kind, step in _NEXT:
        if isinstance(error, kind):
            return step
    if error.recovery is Recovery.REPEAT:
        return "Run it again later"
    return "Leave it out, or run it again"
