"""What is said of a failed job, and which exit code an error stands for."""

from __future__ import annotations

import pytest

from facewarp_async.cli.exits import ExitCode, UsageError, exit_code_for
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.records import outcome_record
from facewarp_async.errors import (
    AuthenticationError,
    ConfigurationError,
    CreditsExhaustedError,
    DiskFullError,
    EmptyFileError,
    FaceWarpError,
    InDoubtError,
    MediaPolicyError,
    NoFaceError,
    ServerError,
    Stage,
    TaskTimeoutError,
)
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import Failed, Skipped

JOB = ImageSwap("in/a.jpg", "face.jpg")


def failed(error: FaceWarpError) -> Failed:
    return Failed(job=JOB, error=error, stage=Stage.WAIT, task_id=error.task_id)


def test_a_failure_names_the_file_the_reason_the_cost_and_the_next_step() -> None:
    text = failure_text(failed(NoFaceError("no face", task_id=7)))
    assert text.startswith("in/a.jpg: no face (code 602, task 7). Credits were spent on task 7. Use pictures")


def test_a_message_that_names_the_file_does_not_name_it_twice() -> None:
    text = failure_text(failed(EmptyFileError("in/a.jpg: is empty")))
    assert text == "in/a.jpg: is empty. No credits were spent. Repair the file or leave it out"


def test_nobody_knows_whether_a_create_in_doubt_was_paid_for() -> None:
    text = failure_text(failed(InDoubtError("the answer was lost")))
    assert "Credits may have been spent" in text
    assert "check your account" in text


def test_where_nothing_costs_anything_credits_are_not_spoken_of() -> None:
    assert "redits" not in failure_text(failed(NoFaceError("no face", task_id=7)), is_free=True)


@pytest.mark.parametrize("error", [MediaPolicyError("no"), ServerError("no"), TaskTimeoutError("no", task_id=1)])
def test_every_failure_says_what_to_do(error: FaceWarpError) -> None:
    assert len(failure_text(failed(error)).split(". ")) >= 3


def test_a_message_cannot_steer_the_terminal() -> None:
    text = failure_text(failed(ServerError("\x1b]0;owned\x07 and\nmore")))
    assert text.isprintable()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), ExitCode.USAGE),
        (ConfigurationError("no"), ExitCode.USAGE),
        (CreditsExhaustedError("no"), ExitCode.STOPPED),
        (AuthenticationError("no"), ExitCode.STOPPED),
        (DiskFullError("no"), ExitCode.STOPPED),
        (NoFaceError("no"), ExitCode.FAILED),
    ],
)
def test_exit_codes(error: FaceWarpError, code: ExitCode) -> None:
    assert exit_code_for(error) == code


def test_records_always_have_the_same_fields() -> None:
    failure = outcome_record(failed(NoFaceError("no face", task_id=7)))
    assert failure["error"] == {
        "type": "NoFaceError",
        "code": 602,
        "message": "no face",
        "advice": "Use pictures in which the face is upright, uncovered and not too small",
        "paid": True,
    }
    assert failure["stage"] == "wait"
    skipped = outcome_record(Skipped(job=JOB, reason="stopped"))
    assert (skipped["status"], skipped["reason"], skipped["error"]) == ("skipped", "stopped", None)
    assert failure.keys() == skipped.keys()
