"""Which error stands for which code."""

from __future__ import annotations

import pytest

from facewarp_async.errors import FaceWarpError, ServiceError
from facewarp_async.wire.codes import error_for_code
from tests.wire.samples import CODES


@pytest.mark.parametrize(
    ("code", "kind"), [*((code, cls) for code, cls, _ in CODES), (606, ServiceError), (0, ServiceError)]
)
def test_a_code_has_its_error(code: int, kind: type[FaceWarpError]) -> None:
    error = error_for_code(code, "no", http_status=200, task_id=7, retry_after_s=3.0)
    assert type(error) is kind
    assert (error.code, error.message, error.http_status, error.task_id, error.retry_after_s) == (code, "no", 200, 7, 3)


def test_a_code_without_a_message_is_told_by_its_number() -> None:
    assert error_for_code(606, "").message == "the service answered with code 606"
