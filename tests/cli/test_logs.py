"""Log records on the screen."""

from __future__ import annotations

import logging

import pytest

from facewarp_async.cli.output import LogHandler, Output


def logged(text: str, *arguments: object) -> None:
    record = logging.LogRecord("facewarp_async.x", logging.INFO, __file__, 1, text, arguments, None)
    LogHandler(Output()).handle(record)


def test_a_record_is_a_line_with_its_time_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logged("GET %s", "https://host/key?X-Amz-Signature=5ecre7&a=1")
    err = capsys.readouterr().err
    assert "INFO facewarp_async.x: GET https://host/key" in err
    assert "5ecre7" not in err


def test_a_record_that_cannot_be_written_does_not_end_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logged("%d files", "many")
    assert "--- Logging error ---" in capsys.readouterr().err
