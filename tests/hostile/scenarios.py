"""How each fault of docs/faults.md is played, by the call that it meets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from attrs import Factory, frozen

Answering = Callable[[Any, Any, Any], Awaitable[bytes | None]]

ATTEMPTS = 2

API = ("token", "upload-url", "create", "detail", "access-url")
STORAGE = ("put", "get")
CALLS = (*API, *STORAGE)


@frozen
class Scenario:
    """How a fault is played."""

    fault: Answering | None = None
    data: Callable[[Any, dict[str, Any]], Any] | None = None
    options: dict[str, Any] = Factory(dict)
    timeouts: dict[str, float] = Factory(dict)
    tls: bool = False
    slow: bool = False
    attempts: int = ATTEMPTS


SCENARIOS: dict[tuple[str, str], Scenario] = {}


def add(name: str, calls: tuple[str, ...], scenario: Scenario) -> None:
    for call in calls:
        assert (call, name) not in SCENARIOS
        SCENARIOS[call, name] = scenario


def plays(
    name: str,
    calls: tuple[str, ...] = CALLS,
    *,
    timeouts: dict[str, float] | None = None,
    slow: bool = False,
    attempts: int = ATTEMPTS,
    **options: Any,
) -> Callable[[Answering], Answering]:
    """Register what a coroutine plays at some calls."""

    def register(fault: Answering) -> Answering:
        add(name, calls, Scenario(fault, options=options, timeouts=timeouts or {}, slow=slow, attempts=attempts))
        return fault

    return register


def answers(name: str, calls: tuple[str, ...], build: Callable[[Any], bytes], **options: Any) -> None:
    """Register an answer that stands in for the proper one."""

    async def fault(service: Any, _asked: Any, _writer: Any) -> bytes:
        return build(service)

    plays(name, calls, **options)(fault)


def gives(name: str, call: str, change: Callable[[Any, dict[str, Any]], Any], *, tls: bool = False) -> None:
    """Register a change to the data of a call's answer."""
    add(name, (call,), Scenario(data=change, tls=tls))


SHORT = {"connect_s": 0.25, "request_s": 0.25, "stall_s": 0.25}
"""For faults that only a time-out ends. The calls before the fault have to be answered within it too."""

# Connections.
add("refused", CALLS, Scenario())


@plays("reset-before", unread=True)
async def _reset_before(service: Any, _asked: Any, writer: Any) -> None:
    service.reset(writer)


@plays("reset-after")
async def _reset_after(service: Any, asked: Any, writer: Any) -> None:
    service.answer(asked)
    service.reset(writer)


@plays("time-out", timeouts=SHORT, slow=True)
async def _time_out(service: Any, asked: Any, _writer: Any) -> None:
    service.answer(asked)
    await service.hold()


@plays("slow-head", timeouts=SHORT, slow=True)
async def _slow_head(service: Any, asked: Any, writer: Any) -> None:
    service.answer(asked)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await service.drip(writer, b"x")


@plays("slow-body", timeouts=SHORT, slow=True)
async def _slow_body(service: Any, asked: Any, writer: Any) -> None:
    service.answer(asked)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await service.drip(writer, b" ")


@plays("slow-reader", ("put",), timeouts=SHORT, slow=True, unread=True)
async def _slow_reader(service: Any, _asked: Any, _writer: Any) -> None:
    await service.hold()


@plays("interim-flood", timeouts=SHORT, slow=True)
async def _interim_flood(service: Any, _asked: Any, writer: Any) -> None:
    await service.drip(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@plays("switching", timeouts=SHORT, slow=True)
async def _switching(service: Any, _asked: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + b"y" * 100)
    await service.hold()


@plays("endless-headers")
async def _endless_headers(service: Any, _asked: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await service.drip(writer, b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(100)), every_s=0)


@plays("half-answer")
async def _half_answer(service: Any, asked: Any, writer: Any) -> None:
    answer = service.answer(asked)
    writer.write(answer[: -len(answer.partition(b"\r\n\r\n")[2]) // 2 - 10])
    await writer.drain()
    writer.close()


# Answers of the wrong kind.
@plays("half-document", API)
async def _half_document(service: Any, asked: Any, _writer: Any) -> bytes:
    body = service.answer(asked).partition(b"\r\n\r\n")[2]
    return bytes(service.reply(body[: len(body) // 2]))


answers("no-http", CALLS, lambda service: b"\x16\x03\x01 this is no HTTP\r\n\r\n")
answers(
    "429-retry-after",
    API,
    lambda service: service.reply(status="429 No", headers="Retry-After: 0\r\n"),
    timeouts={"repeat_s": 0.1},
    slow=True,
)
answers("429-bare", API, lambda service: service.reply(status="429 No"), timeouts={"repeat_s": 0.1}, slow=True)
answers("429-for-a-day", API, lambda service: service.reply(status="429 No", headers="Retry-After: 86400\r\n"))
answers("429", STORAGE, lambda service: service.reply(status="429 No"))
answers("802", API, lambda service: service.envelope(code=802, message="slowly"), timeouts={"repeat_s": 0.1}, slow=True)
answers("503-for-a-day", API, lambda service: service.reply(status="503 No", headers="Retry-After: 86400\r\n"))
answers("500", API, lambda service: service.envelope(code=500, message="oops", status="500 Oops"))
answers("500", STORAGE, lambda service: service.reply(b"<Error><Code>InternalError</Code></Error>", status="500 Oops"))
answers("502-page", CALLS, lambda service: service.reply(b"<html>Bad Gateway</html>", status="502 Bad Gateway"))
answers("504-envelope", API, lambda service: service.envelope(code=504, message="late", status="504 Late"))
answers("999", API, lambda service: service.envelope(code=999, message="what?"))
answers("wrong-types", API, lambda service: service.envelope([["a"], 1.5]))
answers("missing-fields", API, lambda service: service.envelope({"hello": 1}))
answers("no-envelope", API, lambda service: service.reply(b"[1, 2]"))
answers("empty", API, lambda service: service.reply(status="204 No Content"))
answers("invalid-utf-8", API, lambda service: service.reply(b'{"code": 200, "data": {"key": "\xff\xfe"}}'))
answers("half-character", API, lambda service: service.reply(b'{"code": 200, "message": "\\ud800"}'))
answers("deep-nesting", API, lambda service: service.reply(b"[" * 100_000))
answers("huge-number", API, lambda service: service.reply(b'{"code": ' + b"9" * 5000 + b"}"))
answers("huge-body", API, lambda service: service.reply(b" " * (5 * 1024 * 1024)))
answers("huge-error", STORAGE, lambda service: service.reply(b"<Error>" * 1024 * 1024, status="400 Bad"))
BOMB = gzip.compress(bytes(64 * 1024 * 1024), 9)
answers("gzip-bomb", API, lambda service: service.reply(BOMB, headers="Content-Encoding: gzip\r\n"))
answers("broken-gzip", API, lambda service: service.reply(b"\x1f\x8b nonsense", headers="Content-Encoding: gzip\r\n"))
answers(
    "redirect-elsewhere",
    CALLS,
    lambda service: service.reply(status="302 Found", headers="Location: http://127.0.0.1:9/\r\n"),
)
answers("redirect-same-host", CALLS, lambda service: service.reply(status="307 Found", headers="Location: /v1/x\r\n"))
answers("bad-length", CALLS, lambda service: b"HTTP/1.1 200 OK\r\nContent-Length: 5e3\r\n\r\n{}")
answers("escapes", API, lambda service: service.envelope(code=400, message="\x1b[2J\x1b]0;owned\x07\r\n\u202edlrow"))
answers(
    "escapes",
    STORAGE,
    lambda service: service.reply(
        b"<Error><Code>X\x1b[2J</Code><Message>\x1b]0;y\x07\x9b</Message></Error>", status="400 No"
    ),
)
answers("long-message", API, lambda service: service.envelope(code=400, message="no " * 100_000))


@plays("secret-echo", API)
async def _secret_echo(service: Any, asked: Any, _writer: Any) -> bytes:
    text = f"{asked.header('Authorization')} {asked.body.decode()} {asked.target}"
    text += " not Bearer: " + text.replace("Bearer ", "")
    return bytes(service.envelope(code=400, message=text))


@plays("secret-echo", STORAGE)
async def _signature_echo(service: Any, asked: Any, _writer: Any) -> bytes:
    body = (
        f"<Error><Code>EntityTooLarge</Code><SignatureProvided>{service.secrets[2]}</SignatureProvided>{asked.target}"
    )
    return bytes(service.reply(body.encode(), status="400 No"))


@plays("longer-than-announced", CALLS)
async def _longer_than_announced(service: Any, asked: Any, _writer: Any) -> bytes:
    return bytes(service.answer(asked) + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")


# Authorisation.
answers("401-once", API, lambda service: service.envelope(code=401, status="401 No"), times=1)
answers("401-for-ever", API, lambda service: service.envelope(code=401, status="401 No"))
answers("401-page", API, lambda service: service.reply(b"<html>", status="401 No"))
gives("unusable-token", "token", lambda service, data: data | {"access_token": "a\r\nX-Evil: 1"})
gives("lapsed-token", "token", lambda service, data: data | {"expires_in": -5})
answers(
    "half-token",
    ("token",),
    lambda service: service.reply(json.dumps({"data": service.proper_data("token")}).encode()[:-9]),
)

# URLs that the service gives.
URLS: dict[str, Callable[[Any], str]] = {
    "no-url": lambda service: "nonsense",
    "file-url": lambda service: "file:///etc/passwd",
    "url-with-credentials": lambda service: service.signed("x").replace("//", "//user:password@"),
    "url-with-line-break": lambda service: service.signed("x HTTP/1.1\r\nX-Evil: 1"),
    "url-with-port-0": lambda service: f"http://127.0.0.1:0/?X-Amz-Signature={service.secrets[2]}",
    "url-with-huge-port": lambda service: f"http://127.0.0.1:70000/?X-Amz-Signature={service.secrets[2]}",
    "url-with-dead-port": lambda service: f"http://127.0.0.1:9/?X-Amz-Signature={service.secrets[2]}",
    "url-with-long-label": lambda service: f"http://{'a' * 70}.test/?X-Amz-Signature={service.secrets[2]}",
}


def gives_url(name: str, url: Callable[[Any], str], *, tls: bool = False) -> None:
    """Register a URL at all calls that give one."""
    gives(name, "upload-url", lambda service, data: data | {"upload_url": url(service)}, tls=tls)
    gives(name, "access-url", lambda service, data: {"url": url(service)}, tls=tls)
    gives(
        name,
        "detail",
        lambda service, data: data | {"additional_data": {"merge_key": "k.png", "merge_url": url(service)}},
        tls=tls,
    )


for _name, _url in URLS.items():
    gives_url(_name, _url)
gives_url("plain-url", lambda service: service.signed("fresh.png", service.plain_url), tls=True)


# Keys and ids.
def gives_id(name: str, task_id: Any) -> None:
    """Register a task's id."""
    gives(f"{name}-id", "create", lambda service, data: {"task_id": task_id})


gives("climbing-key", "upload-url", lambda service, data: data | {"key": "../../etc/passwd"})
gives("unprintable-key", "upload-url", lambda service, data: data | {"key": "a\x1b[2J\x00"})
gives(
    "climbing-key",
    "detail",
    lambda service, data: data | {"additional_data": data["additional_data"] | {"merge_key": "../../x/../\x1b[2J/.."}},
)
for _name, _id in {
    "zero": 0,
    "negative": -7,
    "huge": 10**30,
    "word": "seven",
    "fraction": 1.5,
    "boolean": True,
}.items():
    gives_id(_name, _id)
gives("string-id", "create", lambda service, data: {"task_id": str(data["task_id"])})

# Tasks.
gives("endless-processing", "detail", lambda service, data: {"status": 2})
gives("unknown-status", "detail", lambda service, data: {"status": 77})
gives("no-result", "detail", lambda service, data: {"status": 0, "additional_data": {}})
gives(
    "message-without-result", "detail", lambda service, data: {"status": 0, "message": "broken", "additional_data": []}
)
gives(
    "nonsense-in-optional-fields",
    "detail",
    lambda service, data: (
        data
        | {
            "additional_data": data["additional_data"]
            | {"size": "12 KB", "width": {}, "thumbnail_key": [], "thumbnail_url": 1e300, "height": 1e300}
        }
    ),
)
answers("601", ("detail",), lambda service: service.envelope(code=601, message="no"))
answers("400", ("create",), lambda service: service.envelope(code=400, message="no"))
answers("701", ("create",), lambda service: service.envelope(code=701, message="no"))
answers("702", ("create",), lambda service: service.envelope(code=702, message="no"))
answers("801", ("create",), lambda service: service.envelope(code=801, message="no"))

# The storage's own.
answers("expired-once", STORAGE, lambda service: service.expired(), times=1)
answers("403-for-ever", STORAGE, lambda service: service.expired())
answers("404", STORAGE, lambda service: service.reply(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found"))
answers("no-length", ("get",), lambda service: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + service.result_bytes)
answers(
    "encoded",
    ("get",),
    lambda service: service.reply(gzip.compress(service.result_bytes), headers="Content-Encoding: gzip\r\n"),
)
answers("huge-announced", ("get",), lambda service: service.reply(b"x" * 100, length=10**15))
answers(
    "unasked-range",
    ("get",),
    lambda service: service.reply(b"x", status="206 Partial Content", headers="Content-Range: bytes 5-5/6\r\n"),
)
answers(
    "senseless-range",
    ("get",),
    lambda service: service.reply(
        b"x", status="206 Partial Content", headers=f"Content-Range: bytes 0-0/{'9' * 5000}\r\n"
    ),
)


@plays("endless-body", ("get",))
async def _endless_body(service: Any, _asked: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await service.drip(writer, b"1000\r\n" + bytes(0x1000) + b"\r\n", every_s=0)


@plays("cut-once", ("get",), times=1)
async def _cut_once(service: Any, asked: Any, writer: Any) -> None:
    writer.write(service.answer(asked)[:-300])
    await writer.drain()
    await anyio.sleep(0.05)  # what the client has not read when it learns of the end is lost
    writer.close()


@plays("changed-between-cuts", ("get",), times=2, attempts=3)
async def _changed_between_cuts(service: Any, asked: Any, writer: Any) -> bytes | None:
    answer = service.answer(asked)
    if asked.header("Range"):
        return bytes(answer.replace(b'"one"', b'"two"').replace(service.result_bytes[-100:], b"z" * 100))
    await _cut_once(service, asked, writer)
    return None
