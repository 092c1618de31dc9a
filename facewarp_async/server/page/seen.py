"""The requests that came last, as the page shows them: without keys, tokens and signatures."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from attrs import frozen

from facewarp_async.redaction import clean_text
from facewarp_async.wire.requests import TASK_PATH

MOST_REQUESTS = 300
"""How many requests are remembered, of which none is longer than HTTP allows here: 8 kB."""

_LONGEST_SHOWN = 160
_ENVELOPE = re.compile(rb'\{"code":(\d{1,9})[,}]')
_STORAGE_ERROR = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


@frozen(kw_only=True)
class SeenRequest:
    """A request and its answer, with all that was in them.

    Attributes:
        number: Counted from 1.
        at: When it came, in seconds since 1970.
        method: Its method.
        target: Its path and query.
        file: What the caller called the file that it is about; empty where there is none.
        status: The answer's HTTP status, 0 where the connection was cut.
        code: The answer's code: the envelope's, or the storage's in words; empty where there is none.
        took_s: How long the answer took.
        fault: The name of the fault that was played, else empty.
    """

    number: int
    at: float
    method: str
    target: str
    file: str
    status: int
    code: str
    took_s: float
    fault: str

    def document(self, secrets: Sequence[str]) -> dict[str, Any]:
        """Return what may be shown of it, as JSON values."""
        path, _, query = self.target.partition("?")
        return {
            "number": self.number,
            "at": self.at,
            "method": self.method,
            "target": _clean(f"{path}?{query}" if path == TASK_PATH and query else path, secrets),
            "file": _clean(self.file, secrets),
            "status": self.status,
            "code": self.code,
            "ms": round(self.took_s * 1000, 1),
            "fault": self.fault,
        }


class SeenRequests:
    """Remembers the last requests.

    Args:
        secrets: What is shown nowhere, wherever a caller has put it.
    """

    def __init__(self, *, secrets: Sequence[str] = ()) -> None:
        self.last: int = 0
        self._secrets = secrets
        self._seen: deque[SeenRequest] = deque(maxlen=MOST_REQUESTS)

    def add(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        *,
        at: float,
        took_s: float,
        file: str,
        fault: str,
    ) -> None:
        """Take note of a request that was answered; the arguments are `SeenRequest`'s."""
        self.last += 1
        is_cut = request.transport is None or request.transport.is_closing()
        seen = SeenRequest(
            number=self.last,
            at=at,
            method=request.method[:10],
            target=request.raw_path,
            file=file,
            status=0 if is_cut else response.status,
            code="" if is_cut else _code(response),
            took_s=took_s,
            fault=fault,
        )
        self._seen.append(seen)

    def documents_after(self, number: int) -> list[dict[str, Any]]:
        """Return what may be shown of those that came after a number, the oldest first."""
        missing = self.last - number if 0 <= number <= self.last else self.last
        # Cleaned only now: most requests are seen by nobody.
        return [seen.document(self._secrets) for seen in list(self._seen)[-missing:]] if missing else []


def _clean(text: str, secrets: Sequence[str]) -> str:
    return clean_text(text, secrets)[:_LONGEST_SHOWN]  # in this order: half a secret would not be known as one


def _code(response: web.StreamResponse) -> str:
    """Read the code from the answer itself: it is what the client sees, also where a fault was played."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes):
        return ""
    start = body[:200]
    found = _ENVELOPE.match(start) or (_STORAGE_ERROR.search(start) if response.status >= 400 else None)
    return found[1].decode() if found else ""
