"""What a client sees of a fault: the answer in place of the real one, and real answers that are spoiled."""

from __future__ import annotations

from typing import Any

import anyio
from aiohttp import web

from facewarp_async.server.answers import MESSAGES, Refusal, refusal
from facewarp_async.server.connections import reset
from facewarp_async.server.faults import Fault, Hit
from facewarp_async.wire.json import dumps, loads

_GATEWAY_PAGE = (
    "<html><head><title>502 Bad Gateway</title></head>"
    "<body><center><h1>502 Bad Gateway</h1></center><hr><center>gateway</center></body></html>"
)


async def answer_instead(hit: Hit, request: web.BaseRequest) -> web.Response | None:
    """Return the answer that stands in for the real one; ``None`` where the fault lets the call do its work first."""
    rule = hit.rule
    match hit.fault:
        case Fault.RESET_BEFORE:
            return reset(request)
        case Fault.SERVER_ERROR:
            return refusal(Refusal(500, http_status=500))
        case Fault.BAD_GATEWAY:
            return web.Response(status=502, text=_GATEWAY_PAGE, content_type="text/html")
        case Fault.RATE_LIMITED:
            response = refusal(Refusal(802, http_status=rule.http_status))
            if rule.retry_after_s is not None:
                response.headers["Retry-After"] = f"{rule.retry_after_s:g}"
            return response
        case Fault.REDIRECT:
            return web.Response(status=302, headers={"Location": rule.location or request.raw_path})
        case Fault.EXPIRED_TOKEN:
            return refusal(Refusal(401, "the token is invalid or expired", http_status=401))
        case Fault.REFUSED:
            return refusal(Refusal(rule.code, rule.message or MESSAGES.get(rule.code, "")))
        case Fault.SLOW:
            await anyio.sleep(rule.delay_s)
    return None


def spoil(fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """Return a real answer as a client gets to see it."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    if fault is Fault.HALF_DOCUMENT:
        return web.Response(
            status=response.status, body=response.body[: len(response.body) // 2], content_type="application/json"
        )
    if fault is Fault.WRONG_TYPES:
        return web.Response(
            status=response.status, body=dumps(_turned(loads(response.body))), content_type="application/json"
        )
    return response


def _turned(value: Any) -> Any:
    """Write numbers as strings, and strings that look like numbers as numbers."""
    if isinstance(value, dict):
        return {name: _turned(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_turned(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value
