"""The vendors' samples and others like them, and which error stands for which code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facewarp_async.errors import (
    AuthenticationError,
    BadRequestError,
    CreditsExhaustedError,
    FacePolicyError,
    FileTooLargeError,
    MediaPolicyError,
    MultipleFacesError,
    NoFaceError,
    RateLimitedError,
    Recovery,
    ServerError,
    SourceNotFoundError,
    TaskFailedError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.wire.answers import Answer

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "vendor_samples.json").read_text())


def answer(data: Any, *, code: Any = 200, message: Any = "", status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps({"code": code, "message": message, "data": data}).encode())


def detail(additional_data: Any, *, status: Any = 0, message: Any = "") -> Answer:
    return answer({"id": 7, "message": message, "status": status, "additional_data": additional_data})


CODES = [
    (400, BadRequestError, Recovery.GIVE_UP),
    (401, AuthenticationError, Recovery.STOP_BATCH),
    (500, ServerError, Recovery.REPEAT),
    (601, TaskFailedError, Recovery.GIVE_UP),
    (602, NoFaceError, Recovery.GIVE_UP),
    (603, MultipleFacesError, Recovery.GIVE_UP),
    (604, MediaPolicyError, Recovery.GIVE_UP),
    (605, FacePolicyError, Recovery.GIVE_UP),
    (701, UploadRejectedError, Recovery.UPLOAD_AGAIN),
    (702, SourceNotFoundError, Recovery.UPLOAD_AGAIN),
    (703, UnsupportedFormatError, Recovery.GIVE_UP),
    (704, FileTooLargeError, Recovery.GIVE_UP),
    (801, CreditsExhaustedError, Recovery.STOP_BATCH),
    (802, RateLimitedError, Recovery.REPEAT),
]
