"""The page's answers: the page itself, its feed, and the files of tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web
from attrs import frozen

from facewarp_async.server.credits import Credits
from facewarp_async.server.page.door import Door
from facewarp_async.server.page.feed import counts_document, key_of, tasks_document
from facewarp_async.server.page.seen import SeenRequests
from facewarp_async.server.results import CONTENT_TYPES
from facewarp_async.server.sigv4 import SignatureError
from facewarp_async.server.state import State
from facewarp_async.server.storage import Storage
from facewarp_async.wire.json import dumps

_PREFIX = "/page/"
_STATIC = Path(__file__).with_name("static")
_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MEDIA_PATH = re.compile(r"/page/media/(\d{1,18})/(before|after|small|face)/(\d{1,4})", re.ASCII)
_AFTER = re.compile(r"after=(\d{1,15})", re.ASCII)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MEDIA_HEADERS = _HEADERS | {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}


@cache
def load_files() -> Mapping[str, bytes]:
    """Read what the page is made of. Blocks the first time."""
    return {path.name: path.read_bytes() for path in _STATIC.iterdir()}


@frozen(kw_only=True)
class Page:
    """Answers requests for the page. It changes nothing, so that no other site can have anything done.

    Attributes:
        door: Who may see it.
        state: Objects and tasks.
        storage: Where the files are.
        seen: The last requests.
        credits: How many tasks may still be created.
        requests_per_second: The request limit, to be shown.
        clock: The time, with its zone.
        about: What the service says of itself.
    """

    door: Door
    state: State
    storage: Storage
    seen: SeenRequests
    credits: Credits
    requests_per_second: float | None
    clock: Callable[[], datetime]
    about: Mapping[str, str]

    def is_meant(self, request: web.BaseRequest) -> bool:
        """Tell whether a request is for the page: what is below its path, and ``/`` where a browser asks."""
        path, _, query = request.raw_path.partition("?")
        if path.startswith(_PREFIX):
            return True
        wants_page = query.startswith("token=") or "text/html" in request.headers.get("Accept", "")
        return path == "/" and request.method in {"GET", "HEAD"} and wants_page

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that is meant for the page."""
        path, _, query = request.raw_path.partition("?")
        if not self.door.knows_host(request.headers.get("Host", "")):
            return _refuse(421, "This host name is not the service's.")
        if request.method not in {"GET", "HEAD"}:
            return _refuse(405, "The page changes nothing.")
        if path == "/":
            return self._root(request, query)
        if self.door.is_of_another_site(request.headers):
            return _refuse(403, "Another site's page has no access.")
        name = path.removeprefix(_PREFIX)
        if name in _FILES:
            return web.Response(body=load_files()[name], content_type=_FILES[name], charset="utf-8", headers=_HEADERS)
        if not self.door.accepts_cookies(request.cookies):
            return _refuse(403, "Open the link that the service gave.")
        if name == "feed":
            return web.Response(body=dumps(self._feed(query)), content_type="application/json", headers=_HEADERS)
        return await self._media(request, path)

    def _root(self, request: web.BaseRequest, query: str) -> web.Response:
        if query.startswith("token=") and self.door.accepts_token(query.removeprefix("token=")):
            response = web.Response(status=303, headers=_HEADERS | {"Location": "/"})
            response.set_cookie(
                self.door.cookie_name, self.door.cookie_value, path="/", httponly=True, samesite="Strict"
            )
            return response
        if not query and self.door.accepts_cookies(request.cookies):
            return _html("page.html")
        return _html("closed.html", status=403)

    def _feed(self, query: str) -> dict[str, Any]:
        after = _AFTER.fullmatch(query)
        return {
            "now": self.clock().timestamp(),
            "about": dict(self.about),
            "credits": self.credits.left,
            "requests_per_second": self.requests_per_second,
            "counts": counts_document(self.state),
            "tasks": tasks_document(self.state),
            "requests": self.seen.documents_after(int(after[1]) if after else 0),
            "last": self.seen.last,
        }

    async def _media(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        asked = _MEDIA_PATH.fullmatch(path)
        task = self.state.tasks.get(int(asked[1])) if asked else None
        key = key_of(task, asked[2], int(asked[3])) if asked and task else None
        stored = self.state.objects.get(key) if key else None
        # What was uploaded is shown as what its first bytes are, whatever its sender called it.
        media_type = stored.blob.media_type if stored and stored.blob else None
        if key is None or media_type is None:
            return _refuse(404, "There is no such file.")
        try:
            return await self.storage.give(
                request, key, headers=_MEDIA_HEADERS | {"Content-Type": CONTENT_TYPES[media_type]}
            )
        except SignatureError as error:
            return _refuse(error.status, error.message)
        except ConnectionError:
            return web.Response(status=400)  # the browser is gone: nobody hears this


def _html(name: str, *, status: int = 200) -> web.Response:
    body = load_files()[name]
    return web.Response(status=status, body=body, content_type="text/html", charset="utf-8", headers=_HEADERS)


def _refuse(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=_HEADERS)
