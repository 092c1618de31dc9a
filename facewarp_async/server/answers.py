"""The service's answers: envelopes, and the storage's XML."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

from facewarp_async.server.sigv4 import SignatureError
from facewarp_async.wire.json import dumps

MESSAGES: dict[int, str] = {
    200: "ok",
    400: "Request parameter error",
    401: "Authorization failed",
    404: "There is no such call",
    405: "The call has another method",
    500: "Server exception occurred",
    601: "Task exception occurred",
    602: "No face detected",
    603: "Multiple faces detected",
    604: "The file may not meet our policy requirement",
    605: "The target photo may not meet our policy requirement",
    701: "File exception occurred",
    702: "The source file for the key was not found",
    703: "Only supported formats: JPG, PNG, WEBP, GIF, M4V, MP4, MOV and WEBM",
    704: "Only supported files: Max 500 MB",
    801: "Not enough credits",
    802: "Not enough requests",
}
"""What the vendors' pages say of each code."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mistake
    """An envelope with a code other than 200, in place of a call's data."""

    def __init__(self, code: int, message: str = "", *, http_status: int = 200) -> None:
        super().__init__(code, message)
        self.code = code
        self.message: str = message or MESSAGES.get(code, "")
        self.http_status = http_status


def envelope(code: int, message: str, data: Any, *, http_status: int = 200) -> web.Response:
    """Answer with an envelope."""
    body = dumps({"code": code, "message": message, "data": data})
    return web.Response(status=http_status, body=body, content_type="application/json")


def success(data: Any) -> web.Response:
    """Answer with a call's data."""
    return envelope(200, MESSAGES[200], data)


def refusal(error: Refusal) -> web.Response:
    """Answer with a code other than 200."""
    return envelope(error.code, error.message, None, http_status=error.http_status)


def storage_error(error: SignatureError) -> web.Response:
    """Answer as S3 refuses."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    return web.Response(status=error.status, text=text, content_type="application/xml")
