"""What every request goes through: faults, authorisation, the request limit, the call, the log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import anyio
from aiohttp import web
from attrs import field, frozen

from facewarp_async.models import TaskKind
from facewarp_async.redaction import redact_text
from facewarp_async.server import parameters
from facewarp_async.server.answers import Refusal, envelope, refusal, storage_error, success
from facewarp_async.server.api import Api
from facewarp_async.server.authorisation import Authoriser, Caller
from facewarp_async.server.connections import reset
from facewarp_async.server.faults import Fault, FaultPlan, Hit
from facewarp_async.server.ledger import Ledger
from facewarp_async.server.limits import SlidingWindow
from facewarp_async.server.page import Page
from facewarp_async.server.played import answer_instead, spoil
from facewarp_async.server.sigv4 import SignatureError
from facewarp_async.server.storage import CutError, Storage, call_name
from facewarp_async.wire.requests import ACCESS_URL_PATH, CREATE_PATHS, TASK_PATH, TOKEN_PATH, UPLOAD_URL_PATH

_log = logging.getLogger("facewarp_async.server")

MAX_JSON_BYTES = 512 * 1024
"""How large the body of a call may be."""

_HOST = re.compile(r"[A-Za-z0-9.\-_:\[\]]{1,255}", re.ASCII)
_KINDS: dict[str, TaskKind] = {path: kind for kind, path in CREATE_PATHS.items()}
_METHODS: dict[str, str] = {
    **dict.fromkeys([UPLOAD_URL_PATH, ACCESS_URL_PATH, TOKEN_PATH, *CREATE_PATHS.values()], "POST"),
    TASK_PATH: "GET",
}


@frozen(kw_only=True)
class Gate:
    """Answers every request that comes in.

    Attributes:
        api: The calls of the protocol.
        storage: The storage behind presigned URLs.
        page: The page on which people watch.
        authoriser: Who may call.
        windows: The request limit of each credential.
        faults: What goes wrong on purpose.
        ledger: Where calls are counted.
        clock: The time, with its zone.
        about: What ``GET /`` says.
        stall_s: How long the body of a call may take.
        secrets: What gets into no log, wherever a caller has put it.
    """

    api: Api
    storage: Storage
    page: Page
    authoriser: Authoriser
    windows: Mapping[Caller, SlidingWindow]
    faults: FaultPlan
    ledger: Ledger
    clock: Callable[[], datetime]
    about: Mapping[str, str]
    stall_s: float
    secrets: Sequence[str] = field(repr=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if self.page.is_meant(request):
            return await self.page.handle(request)
        began, at = time.perf_counter(), self.clock().timestamp()
        path = request.raw_path.partition("?")[0]
        in_storage = path.startswith("/storage/")
        call = call_name(request.method) if in_storage else path if path in _METHODS else "other"
        self.ledger.calls[call] += 1
        hit = self.faults.draw(call, request.raw_path)
        if hit is not None:
            self.ledger.faults[call, hit.fault.name] += 1
        act = partial(self._storage if in_storage else self._call, request, call, hit)
        try:
            response = await self._with_fault(request, act, hit)
        except CutError:
            response = reset(request)
        took_s, fault = time.perf_counter() - began, hit.fault.name if hit else ""
        file = self.storage.name_of(path) if in_storage else ""
        self.page.seen.add(request, response, at=at, took_s=took_s, file=file, fault=fault)
        if _log.isEnabledFor(logging.DEBUG):
            target = redact_text(request.raw_path, self.secrets)
            note = f", {fault}" if fault else ""
            _log.debug("%s %s: HTTP %d, %.1f ms%s", request.method, target, response.status, took_s * 1000, note)
        return response

    async def _with_fault(
        self, request: web.BaseRequest, act: Callable[[], Any], hit: Hit | None
    ) -> web.StreamResponse:
        if hit is None:
            response: web.StreamResponse = await act()
            return response
        instead = await answer_instead(hit, request)
        if instead is not None and not hit.rule.acts:
            return instead
        response = await act()
        if hit.fault is Fault.RESET_AFTER:
            return reset(request)
        return instead if instead is not None else spoil(hit.fault, response)

    async def _storage(self, request: web.BaseRequest, call: str, hit: Hit | None) -> web.StreamResponse:
        try:
            return await self.storage.handle(request, fault=hit.fault if hit else None)
        except SignatureError as error:
            self.ledger.refusals[call, error.status] += 1
            return storage_error(error)
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=400)  # the client is gone: nobody hears this
        except CutError:
            raise
        except Exception:
            _log.exception("the storage failed")
            return storage_error(SignatureError(500, "InternalError", "We encountered an internal error"))

    async def _call(self, request: web.BaseRequest, call: str, hit: Hit | None) -> web.StreamResponse:
        try:
            return await self._answer(request, call, hit)
        except Refusal as error:
            self.ledger.refusals[call, error.code] += 1
            return refusal(error)
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=400)  # the same
        except Exception:
            _log.exception("the call %s failed", call)
            self.ledger.refusals[call, 500] += 1
            return refusal(Refusal(500, http_status=500))

    async def _answer(self, request: web.BaseRequest, call: str, hit: Hit | None) -> web.Response:
        if request.raw_path == "/" and request.method == "GET":
            return success(dict(self.about))
        if call != TOKEN_PATH:
            caller = self.authoriser.check(request.headers.get("Authorization"), now=self.clock().timestamp())
            if call == "other":
                raise Refusal(404, http_status=404)
        if request.method != _METHODS[call]:
            raise Refusal(405, http_status=405)
        if call == TOKEN_PATH:
            return success(self._token(await self._body(request)))
        if not self.windows[caller].admit(asyncio.get_running_loop().time()):
            raise Refusal(802)
        if call == TASK_PATH:
            code, message, data = self.api.detail(request.query, _origin(request), hit)
            return envelope(code, message, data)
        body = await self._body(request)
        if call == UPLOAD_URL_PATH:
            return success(await self.api.upload_url(body, _origin(request)))
        if call == ACCESS_URL_PATH:
            return success(await self.api.access_url(body, _origin(request)))
        return success(await self.api.create(_KINDS[call], body, hit))

    def _token(self, body: Mapping[str, Any]) -> dict[str, Any]:
        client_id, secret = parameters.text(body, "client_id"), parameters.text(body, "client_secret")
        token = self.authoriser.give_token(client_id, secret, now=self.clock().timestamp())
        lifetime_s = self.authoriser.lifetime_s
        return {"access_token": token, "expires_in": int(lifetime_s) if lifetime_s == int(lifetime_s) else lifetime_s}

    async def _body(self, request: web.BaseRequest) -> dict[str, Any]:
        try:
            with anyio.fail_after(self.stall_s):
                body = await request.read()
        except TimeoutError:
            raise Refusal(400, "the body did not arrive in time", http_status=408) from None
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(400, f"the body has more than {MAX_JSON_BYTES} bytes", http_status=413) from None
        return parameters.read_object(body)


def _origin(request: web.BaseRequest) -> str:
    """Return scheme and host as the caller wrote them: presigned URLs must lead back the same way."""
    if not _HOST.fullmatch(request.host):
        raise Refusal(400, "the Host header is malformed", http_status=400)
    return f"http://{request.host}"
