"""What a storage takes and refuses, whoever asks: where it keeps these rules, a success of the client's is a proof."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import anyio
import pytest
from yarl import URL

if TYPE_CHECKING:
    from tests.storage.conftest import Storage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DIGITS = b"0123456789"
DAY_S = 24 * 3600


def _sub(pattern: str, replacement: str) -> Callable[[str], str]:
    def spoil(url: str) -> str:
        spoilt = re.sub(pattern, replacement, url, count=1)
        assert spoilt != url
        return spoilt

    return spoil


def _other_signature(url: str) -> str:
    return url[:-1] + ("1" if url[-1] == "0" else "0")


async def test_what_a_url_was_signed_for_is_done(storage: Storage) -> None:
    """A PUT, and a GET and a HEAD that tell the length and the content's MD5."""
    put = await storage.request("PUT", storage.url("PUT", "a.bin"), data=DIGITS)
    assert put.status == 200
    for method, body in (("GET", DIGITS), ("HEAD", b"")):
        reply = await storage.request(method, storage.url(method, "a.bin"))
        assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, body, "10")
        assert reply.headers["ETag"] == put.headers["ETag"] == f'"{hashlib.md5(DIGITS).hexdigest()}"'


@pytest.mark.parametrize(
    ("span", "part", "told"),
    [("3-5", b"345", "3-5/10"), ("7-", b"789", "7-9/10"), ("-2", b"89", "8-9/10"), ("10-", b"", "")],
)
async def test_a_part_is_given(storage: Storage, span: str, part: bytes, told: str) -> None:
    assert (await storage.request("PUT", storage.url("PUT", "part.bin"), data=DIGITS)).status == 200
    reply = await storage.request("GET", storage.url("GET", "part.bin"), headers={"Range": f"bytes={span}"})
    if part:
        assert reply.status in ({206, 200} if storage.is_lenient else {206})
        assert (reply.body, reply.headers["Content-Range"]) == (part, f"bytes {told}")
    else:
        assert (reply.status, reply.code) == (416, "InvalidRange")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_not_there_is_not_found(storage: Storage, method: str) -> None:
    reply = await storage.request(method, storage.url(method, "no/such.bin"))
    assert (reply.status, reply.code) == (404, "NoSuchKey" if method == "GET" else "")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_other_signature, id="the signature altered"),
        pytest.param(_sub(r"&X-Amz-Signature=.*", ""), id="the signature left out"),
        pytest.param(_sub(r"\?.*", ""), id="nothing signed"),
        pytest.param(_sub("asked", "other"), id="the key altered"),
        pytest.param(_sub("Expires=1800", "Expires=1801"), id="the expiry altered"),
        pytest.param(_sub(r"Date=\d{4}", "Date=2001"), id="the date altered"),
        pytest.param(_sub("$", "&x-id=PutObject"), id="a parameter added"),
        pytest.param(_sub("%2F", "%252F"), id="the query encoded anew"),
        pytest.param(_sub("%20", "%2520"), id="the path encoded anew"),
        pytest.param(_sub("%20", "+"), id="the path encoded as a form"),
        pytest.param(_sub("%252F", "%2F"), id="the path decoded"),
    ],
)
async def test_an_altered_url_is_refused(storage: Storage, spoil: Callable[[str], str]) -> None:
    key = "asked a%2Fb.bin"
    put = await storage.request("PUT", spoil(storage.url("PUT", key)), data=DIGITS)
    assert put.status in {400, 403}
    assert put.code
    assert not await storage.holds(key)
    assert (await storage.request("GET", spoil(storage.url("GET", key)))).status in {400, 403}


@pytest.mark.parametrize(("signed", "used"), [("GET", "PUT"), ("PUT", "GET"), ("GET", "HEAD"), ("PUT", "DELETE")])
async def test_a_url_for_one_method_is_refused_for_another(storage: Storage, signed: str, used: str) -> None:
    assert (await storage.request("PUT", storage.url("PUT", "method.bin"), data=DIGITS)).status == 200
    url = storage.url(signed, "method.bin")
    assert (await storage.request(used, url, data=b"x" if used == "PUT" else None)).status == 403
    assert (await storage.request("GET", storage.url("GET", "method.bin"))).body == DIGITS


async def test_a_stranger_is_refused(storage: Storage) -> None:
    for stranger in (
        storage.signed_by(storage.access_key, "another-secret"),
        storage.signed_by("AKIDOFNOBODY00000000", storage.secret_key),
    ):
        assert (await storage.request("PUT", stranger.url("PUT", "strange.bin"), data=DIGITS)).status == 403
    assert not await storage.holds("strange.bin")


async def test_a_token_beside_the_signature_is_refused(storage: Storage) -> None:
    """Which is why the client keeps the storage's session apart from the API's."""
    url, token = storage.url("PUT", "token.bin"), {"Authorization": "Bearer the-token"}
    assert (await storage.request("PUT", url, data=DIGITS, headers=token)).status == 400
    assert not await storage.holds("token.bin")


@pytest.mark.parametrize("expires_s", [7 * DAY_S, 7 * DAY_S + 1])
async def test_no_url_holds_for_longer_than_seven_days(storage: Storage, expires_s: int) -> None:
    url = storage.url("PUT", f"{expires_s}.bin", expires_s=expires_s)
    allowed = {200} if expires_s == 7 * DAY_S else {200, 400, 403} if storage.is_lenient else {400, 403}
    assert (await storage.request("PUT", url, data=DIGITS)).status in allowed


async def test_a_body_in_chunks_is_refused(storage: Storage) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield DIGITS

    reply = await storage.request("PUT", storage.url("PUT", "chunks.bin"), data=body())
    assert (reply.status, reply.code) == (411, "MissingContentLength")
    assert not await storage.holds("chunks.bin")


async def test_a_length_and_a_type_that_were_signed_have_to_be_kept(storage: Storage) -> None:
    url = storage.url("PUT", "signed.bin", ContentLength=4, ContentType="image/png")
    png = {"Content-Type": "image/png"}
    assert (await storage.request("PUT", url, data=DIGITS, headers=png)).status == 403
    assert (await storage.request("PUT", url, data=b"four", headers={"Content-Type": "text/plain"})).status == 403
    assert not await storage.holds("signed.bin")
    assert (await storage.request("PUT", url, data=b"four", headers=png)).status == 200


@pytest.mark.parametrize(("length", "stored"), [(11, None), (4, b"0123")])
async def test_as_much_is_stored_as_the_header_says_or_nothing(
    storage: Storage, length: int, stored: bytes | None
) -> None:
    """Ten bytes are sent, and then the connection ends."""
    url, key = URL(storage.base_url), f"length-{length}.bin"
    target = storage.url("PUT", key).removeprefix(storage.base_url)
    tls = ssl.create_default_context() if url.scheme == "https" else None
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
    head = f"PUT {target} HTTP/1.1\r\nHost: {url.authority}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + DIGITS)
    if writer.can_write_eof():
        writer.write_eof()
    with anyio.move_on_after(2):
        await reader.readline()
    writer.close()
    reply = await storage.request("GET", storage.url("GET", key))
    assert (reply.body if reply.status == 200 else None) == stored
