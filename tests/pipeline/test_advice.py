"""What a failed job has cost, and what to do about it."""

from __future__ import annotations

import pytest

from facewarp_async.errors import (
    BadRequestError,
    CreditsExhaustedError,
    DiskFullError,
    EmptyFileError,
    FacePolicyError,
    FaceWarpError,
    FileChangedError,
    HttpError,
    InDoubtError,
    MediaPolicyError,
    MissingFileError,
    NoFaceError,
    OutputError,
    RateLimitedError,
    ServerError,
    SourceNotFoundError,
    TransportError,
    UploadRejectedError,
)
from facewarp_async.pipeline.advice import cost_text, next_step


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (NoFaceError("x"), "Use pictures in which the face is upright, uncovered and not too small"),
        (MediaPolicyError("x"), "Leave this file out: the service would refuse it again"),
        (FacePolicyError("x"), "Use another face: the service would refuse this one again"),
        (UploadRejectedError("x"), "Check that the file opens in a viewer, then run it again"),
        (SourceNotFoundError("x"), "Check that the file opens in a viewer, then run it again"),
        (MissingFileError("x"), "Check that it is there and may be read, or leave it out"),
        (EmptyFileError("x"), "Repair the file or leave it out"),
        (OutputError("x"), "Free the place or choose another --out, and run it again"),
        (RateLimitedError("x"), "Run it again with a lower --rps"),
        (ServerError("x"), "Run it again later"),
        (TransportError("x"), "Run it again later"),
        (HttpError("x", http_status=503), "Run it again later"),
        (BadRequestError("x"), "Leave it out, or run it again"),
        (HttpError("x", http_status=404), "Leave it out, or run it again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_a_next_step_that_may_help(error: FaceWarpError, step: str) -> None:
    assert next_step(error) == step


@pytest.mark.parametrize("kind", [FileChangedError, DiskFullError, CreditsExhaustedError, InDoubtError])
def test_an_errors_own_advice_goes_before_that_of_its_family(kind: type[FaceWarpError]) -> None:
    assert kind.advice
    assert next_step(kind("x")) == kind.advice


def test_a_task_that_was_created_was_paid_for() -> None:
    assert cost_text(NoFaceError("x"), None) == "No credits were spent"
    assert cost_text(NoFaceError("x", task_id=7), 7) == "Credits were spent on task 7"
    kept = "Credits were spent on task 7, whose result stays with the service for 7 days"
    assert cost_text(DiskFullError("x", task_id=7), 7) == kept
    assert cost_text(InDoubtError("x"), None) == "Credits may have been spent"
    assert cost_text(InDoubtError("x"), 7) == "Credits may have been spent"
