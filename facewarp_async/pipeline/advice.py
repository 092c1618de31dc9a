"""What a failed job cost, and what to do next, in words. Pure."""

from __future__ import annotations

from facewarp_async.errors import (
    FacePolicyError,
    FaceWarpError,
    InputError,
    MediaPolicyError,
    MissingFileError,
    NoFaceError,
    OutputError,
    RateLimitedError,
    Recovery,
    UploadRejectedError,
)

_NEXT: list[tuple[type[FaceWarpError], str]] = [
    (NoFaceError, "Use pictures in which the face is upright, uncovered and not too small"),
    (MediaPolicyError, "Leave this file out: the service would refuse it again"),
    (FacePolicyError, "Use another face: the service would refuse this one again"),
    (UploadRejectedError, "Check that the file opens in a viewer, then run it again"),
    (MissingFileError, "Check that it is there and may be read, or leave it out"),
    (InputError, "Repair the file or leave it out"),
    (OutputError, "Free the place or choose another --out, and run it again"),
    (RateLimitedError, "Run it again with a lower --rps"),
]


def cost_text(error: FaceWarpError, task_id: int | None) -> str:
    """Say whether a failed job has cost credits."""
    if error.paid is None:
        return "Credits may have been spent"
    if task_id is None:
        return "No credits were spent"
    stays = ", whose result stays with the service for 7 days" if isinstance(error, OutputError) else ""
    return f"Credits were spent on task {task_id}{stays}"


def next_step(error: FaceWarpError) -> str:
    """Say what to do about a failed job."""
    if error.advice:
        return error.advice
    for kind, step in _NEXT:
        if isinstance(error, kind):
            return step
    if error.recovery is Recovery.REPEAT:
        return "Run it again later"
    return "Leave it out, or run it again"
