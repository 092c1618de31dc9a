"""Whatever bytes come in, the local service refuses them with a reason, never fails, and goes on.

``FACEWARP_TEST_EXAMPLES=20000 pytest --timeout 3600 tests/hostile/test_any_request.py`` is the long run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facewarp_async.client import FaceSwapClient
from facewarp_async.models import FaceDetection, TaskKind
from facewarp_async.server import InstantRunner, LocalService
from facewarp_async.wire.requests import ACCESS_URL_PATH, CREATE_PATHS, TASK_PATH, TOKEN_PATH, UPLOAD_URL_PATH
from tests.hostile.spoiling import Spoiling, spoilings

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EXAMPLES = int(os.environ.get("FACEWARP_TEST_EXAMPLES", "150"))
fuzzing = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

STALL_S = 0.15
LONGEST_ANSWER_S = 10.0
NOT_IMPLEMENTED = 501  # what S3 answers to bodies in signed chunks

# What stands in braces is put in once the service runs.
CALLS = [UPLOAD_URL_PATH, ACCESS_URL_PATH, TOKEN_PATH, TASK_PATH, *CREATE_PATHS.values()]
WORDS = (
    "file_name key main_key target_key is_hd avatar_key target_part_key avatar_part_key get_face_id client_id"
    " client_secret"
)
KNOWN = ["{key}", "{empty}", "{crop}", "{task}", "{detection}", "{client_id}", "{client_secret}"]
SIGNED = [
    "Algorithm",
    "Credential",
    "Date",
    "Expires",
    "SignedHeaders",
    "Signature",
    "Content-Sha256",
    "Security-Token",
]
TERMS = [
    b"", b"0", b"-1", b"604801", b"9" * 5000, b"99991231T235959Z", b"00010101T000000Z", b"20261122T000000Z", b"host",
    b"host;x-other", b"x-other", b"%FF", b"\xff", b"%", b"%00", b"{access}/00010101/auto/s3/aws4_request",
    b"{access}/99991231/auto/s3/aws4_request", "\u0661".encode(), b"UNSIGNED-PAYLOAD",
]  # fmt: skip

small = st.binary(max_size=8)
texts = st.sampled_from([*KNOWN, "", "a.png", "../../a.png", "\x00", "\ud800", "1", "9" * 5000, "\u0661"]) | st.text(
    max_size=5
)
scalars = (
    st.none() | st.booleans() | texts | st.sampled_from([0, 1, 2, -1, 10**40, 1e308, float("nan"), float("inf"), 1.5])
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS.split()) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=12,
)
bodies = (
    documents.map(lambda document: json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | documents.map(json.dumps).map(str.encode)
    | small
    | st.sampled_from([b"", b"[" * 100_000, b" " * 600_000, b'{"a":' * 50_000, b"\x89PNG\r\n\x1a\n" + b"x" * 300_000])
)

NAMES = [
    b"Authorization", b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Content-Type", b"Content-MD5",
    b"Expect", b"Range", b"If-Range", b"If-Match", b"If-None-Match", b"Connection", b"Upgrade", b"Host", b"Trailer",
    b"X-Other", b"X-\xff", b"", b" ", b"Cookie", b"Sec-WebSocket-Key", b"X-Forwarded-For", b"Accept", b"Sec-Fetch-Site",
]  # fmt: skip
VALUES = [
    b"", b"0", b"-1", b"5", b"1e3", b"9" * 5000, b"chunked", b"gzip, chunked", b"gzip", b"aws-chunked", b"identity",
    b"100-continue", b"bytes=0-", b"bytes=-5", b"bytes=99999-", b"bytes=5-1", b"bytes=-0", b'"a"', b"*", b"close",
    b"keep-alive", b"upgrade", b"websocket", b"h2c", b"Bearer", b"Bearer {token}", b"Bearer {api_key}", b"Bearer \xff",
    b"Bearer =", b"Basic YTpi", b"a\x00b", b"\xff\xfe", b"localhost", b"a b", b"[::1", b"x" * 9000, b"text/html",
    b"multipart/form-data; boundary=", b"application/x-www-form-urlencoded", b"{cookie}", b"{cookie}; a=\xff", b"a=\"",
]  # fmt: skip
headers = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | small), max_size=4)


@frozen
class Change:
    """What is done to a presigned URL: a term of its signature gets another value, or is there twice."""

    name: str
    value: bytes
    is_added: bool

    def apply(self, target: bytes) -> bytes:
        term = f"X-Amz-{self.name}=".encode() + self.value
        if self.is_added:
            return target + b"&" + term
        return re.sub(rb"X-Amz-%s=[^&]*" % self.name.encode(), lambda _: term, target)


@frozen
class Request:
    """A request, before the running service's values are put in."""

    method: bytes
    target: bytes
    changes: list[Change]
    version: bytes
    headers: list[tuple[bytes, bytes]]
    is_authorised: bool
    framing: str
    body: bytes
    spoilings: list[Spoiling]

    def encode(self, values: dict[bytes, bytes]) -> bytes:
        target, body = _fill(self.target, values), _fill(self.body, values)
        for change in self.changes:
            target = _fill(change.apply(target), values)
        headers = [(name, _fill(value, values)) for name, value in self.headers]
        if self.is_authorised:
            headers += [(b"Authorization", b"Bearer " + values[b"api_key"]), (b"Cookie", values[b"cookie"])]
        if self.framing == "length":
            headers.append((b"Content-Length", b"%d" % len(body)))
        elif self.framing == "too long":
            headers.append((b"Content-Length", b"%d" % (len(body) + 5)))
        elif self.framing == "chunked":
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        elif self.framing == "bad chunks":
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = b"%x\r\n%s" % (len(body) + 1, body) + b"\r\nzz\r\n"
        lines = [b"%s %s HTTP/%s" % (self.method, target, self.version), b"Host: " + values[b"host"]]
        lines += [b"%s: %s" % header for header in headers]
        whole = b"\r\n".join(lines) + b"\r\n\r\n" + body
        for spoiling in self.spoilings:
            whole = spoiling.apply(whole)
        return whole


def _fill(text: bytes, values: dict[bytes, bytes]) -> bytes:
    return re.sub(rb"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


ODD_TARGETS = [
    b"/", b"*", b"//", b"", b"/storage/", b"/storage/facewarp/{key}", b"/storage/facewarp/../../service.db",
    b"/storage/facewarp/%2e%2e/%2e%2e/service.db", b"http://{host}/", b"{host}", b"/\xff", b"/%ff", b"/?\xff",
    b"/v1/task/face-swap/", b"/" + b"a" * 9000, b"http://[::1", b"/v1/../v1/task/detail?id={task}",
]  # fmt: skip
PAGES = [
    b"/?token={page_token}", b"/?token=\xff", b"/?token=%ff", b"/page/page.css", b"/page/feed", b"/page/feed?after=1",
    b"/page/feed?after=-1", b"/page/../../service.db", b"/page/media/{task}/before/0", b"/page/media/{task}/after/0",
    b"/page/media/{task}/face/9999", b"/page/media/{detection}/small/0", b"/page/media/999999999999999999/face/0",
]  # fmt: skip
QUERIES = [b"", b"?id={task}", b"?id={detection}", b"?id=-1", b"?id=\xff", b"?id=%ff&id=1", b"?id="]
calls = st.builds(lambda path, query: path.encode() + query, st.sampled_from(CALLS), st.sampled_from(QUERIES))
rarely = st.sampled_from([False, False, False, True])
requests = st.builds(
    Request,
    method=st.sampled_from(["POST", "GET", "PUT"] * 3 + ["HEAD", "DELETE", "OPTIONS", "CONNECT", "get", ""]).map(
        str.encode
    )
    | small,
    target=calls
    | st.sampled_from([b"{put}", b"{get}"])
    | st.sampled_from(PAGES)
    | st.sampled_from(ODD_TARGETS)
    | small,
    changes=st.lists(
        st.builds(Change, st.sampled_from(SIGNED), st.sampled_from(TERMS) | small, st.booleans()), max_size=2
    ),
    version=st.sampled_from([b"1.1"] * 6 + [b"1.0", b"0.9", b"2.0", b"11", b""]),
    headers=headers,
    is_authorised=st.sampled_from([True, True, True, False]),
    framing=st.sampled_from(["length"] * 5 + ["none", "too long", "chunked", "bad chunks"]),
    body=bodies,
    spoilings=st.just([]) | st.lists(spoilings, max_size=2),
)


@frozen
class Standing:
    """A service with something in each of its drawers."""

    service: LocalService
    values: dict[bytes, bytes]
    records: list[logging.LogRecord]

    @property
    def port(self) -> int:
        return int(self.service.provider.base_url.rpartition(":")[2])

    async def send(self, request: bytes, *, pieces: int = 1) -> bytes:
        """Send bytes over a connection of their own; return the first answer, empty where the service hung up.

        What is no whole head is ended by closing our side, as nothing has to be answered to it.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        size = max(1, -(-len(request) // pieces))
        try:
            async with asyncio.timeout(LONGEST_ANSWER_S):
                for start in range(0, len(request), size):
                    writer.write(request[start : start + size])
                    await writer.drain()
                if not _is_whole_head(request):
                    writer.write_eof()
                return await _read_answer(reader)
        except ConnectionError:  # refused before all of it was sent
            return b""
        finally:
            writer.close()

    async def check(self) -> None:
        """It serves, and did not log a failure."""
        assert status_of(await self.send(_about())) == 200
        assert [record.getMessage() for record in self.records] == []


def _about() -> bytes:
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _is_whole_head(request: bytes) -> bool:
    return b"\r\n\r\n" in request.lstrip(b"\r\n")


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    return head


def status_of(answer: bytes) -> int:
    match = re.match(rb"HTTP/\d\.\d (\d{3}) ", answer)
    assert match, answer
    return int(match[1])


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage().encode()  # a line that no file can hold is a failure too
        if record.levelno >= logging.WARNING:
            self.records.append(record)


@pytest.fixture
async def standing(tmp_path: Path, make_client: Callable[..., FaceSwapClient], make_file: Callable[..., Path]) -> Any:
    """A service that has uploads, a finished swap and a finished detection. In the end its disk has what keys name."""
    folder, listener = tmp_path / "data", _Listener([])
    loggers = [logging.getLogger(name) for name in ("facewarp_async", "asyncio", "aiohttp")]
    for logger in loggers:
        logger.addHandler(listener)
    loggers[0].setLevel(logging.DEBUG)
    try:
        async with LocalService(data_dir=folder, runner=InstantRunner(), stall_s=STALL_S) as service:
            yield Standing(service, await _fill_drawers(service, make_client, make_file), listener.records)
            objects = service._gate.storage.state.objects.values()
        bodies = {stored.blob.name for stored in objects if stored.blob is not None}
        _check_disk(tmp_path, bodies)
    finally:
        loggers[0].setLevel(logging.NOTSET)
        for logger in loggers:
            logger.removeHandler(listener)


def _check_disk(folder: Path, bodies: set[str]) -> None:
    assert {path.name for path in folder.glob("data/blobs/*/*")} == bodies
    assert list(folder.glob("data/parts/*")) == []
    assert {path.name for path in folder.iterdir()} == {"data", "a.png", "b.png"}


async def _fill_drawers(
    service: LocalService, make_client: Callable[..., FaceSwapClient], make_file: Callable[..., Path]
) -> dict[bytes, bytes]:
    base = service.provider.base_url
    async with make_client(service.provider, service.auth) as client:
        media, face = await client.upload(make_file("a.png")), await client.upload(make_file("b.png"))
        task = await client.create_image_swap(media, face)
        detection = await client.create_face_detection(media)
        await service.settled()
        crops = (await client.get_task(detection, TaskKind.FACE_DETECTION)).result
        assert isinstance(crops, FaceDetection)
        grant = await client.request_upload("c.png")
        got = await client.access_url(media.key)
    id_, secret = service.client_credentials.client_id, service.client_credentials.client_secret
    door = service._gate.page.door
    access = re.search(r"X-Amz-Credential=(\w+)", got)
    assert access
    values = {
        "key": media.key, "empty": grant.key, "crop": crops.faces[0].key, "task": f"{task}", "client_id": id_,
        "detection": f"{detection}", "client_secret": secret, "api_key": service.auth.key, "access": access[1],
        "page_token": door.token, "cookie": f"{door.cookie_name}={door.cookie_value}",
        "put": grant.url.removeprefix(base), "get": got.removeprefix(base), "host": base.removeprefix("http://"),
    }  # fmt: skip
    return {name.encode(): value.encode() for name, value in values.items()}


@pytest.mark.timeout(3600)
@fuzzing
@given(sent=requests, pieces=st.sampled_from([1, 1, 1, 2, 7]))
async def test_no_request_fails_and_none_stops_the_service(standing: Standing, sent: Request, pieces: int) -> None:
    """Requests to all calls and URLs, nearly right and not at all."""
    answer = await standing.send(sent.encode(standing.values), pieces=pieces)
    if answer:
        assert status_of(answer) < 500 or status_of(answer) == NOT_IMPLEMENTED
    await standing.check()


ALTERED = [
    *([Change(*each)] for each in itertools.product(SIGNED, TERMS, [False, True])),
    *(
        [Change("Credential", b"{access}/%s/auto/s3/aws4_request" % day[:8], False), Change("Date", day, False)]
        for day in (b"99991231T235959Z", b"00010101T000000Z", b"00000000T000000Z", b"20261122")
    ),
]


async def test_no_change_of_a_presigned_url_fails_or_passes(standing: Standing) -> None:
    """Each term of the signature gets each odd value, in place of its own or beside it."""
    body = b"\x89PNG\r\n\x1a\n"
    for (method, target), changes in itertools.product([(b"PUT", b"put"), (b"GET", b"get")], ALTERED):
        changed = proper = standing.values[target]
        for change in changes:
            changed = _fill(change.apply(changed), standing.values)
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, changed, standing.values[b"host"])
        answer = await standing.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert status_of(answer) in ({200, 206} if changed == proper else {400, 403, 404}), changes
    await standing.check()


@pytest.mark.parametrize("call", ["put", "get", "upload-url", "page", "feed", "media"])
async def test_no_header_makes_a_call_fail(standing: Standing, call: str) -> None:
    """Each header has each odd value, also where the URL says that it is signed."""
    body = b'{"file_name": "a.png"}'
    method, target = {
        "put": (b"PUT", standing.values[b"put"]),
        "get": (b"GET", standing.values[b"get"]),
        "upload-url": (b"POST", UPLOAD_URL_PATH.encode()),
        "page": (b"GET", b"/?token=" + standing.values[b"page_token"]),
        "feed": (b"GET", b"/page/feed"),
        "media": (b"GET", b"/page/media/%s/after/0" % standing.values[b"task"]),
    }[call]
    for name, value in itertools.product(NAMES, VALUES):
        for signed in (b"host", b"host;" + name.lower().replace(b" ", b"")):
            altered = Change("SignedHeaders", signed, False).apply(target)
            head = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, altered, standing.values[b"host"])
            head += b"Content-Length: %d\r\n" % len(body)
            if call == "upload-url":
                head += b"Authorization: Bearer %s\r\n" % standing.values[b"api_key"]
            elif call in {"feed", "media"}:
                head += b"Cookie: %s\r\n" % standing.values[b"cookie"]
            answer = await standing.send(head + name + b": " + _fill(value, standing.values) + b"\r\n\r\n" + body)
            if answer:
                assert status_of(answer) < 500 or status_of(answer) == NOT_IMPLEMENTED, (name, value)
    await standing.check()
