"""What is written to stderr."""

from __future__ import annotations

import logging

import pytest

from facewarp_async.cli.output import LogHandler, Output


def test_a_log_record_keeps_its_lines_and_loses_its_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LogHandler(Output())
    text = "PUT http://host/key?X-Amz-Signature=abc123\nAuthorization: Bearer abc123\x1b[31m"
    handler.emit(logging.LogRecord("facewarp_async", logging.DEBUG, "", 0, text, (), None))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("DEBUG facewarp_async: PUT http://host/key?X-Amz-Signature=***")
    assert second == "Authorization: Bearer ***"


@pytest.mark.parametrize("text", ["[red]text[/red]", ":smile: 'quoted' 123", "x" * 300])
def test_a_line_is_written_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output().say(text)
    assert capsys.readouterr().err == text + "\n"
