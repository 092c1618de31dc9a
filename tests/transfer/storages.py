"""The storages that transfers are tested with, and what tells how a transfer went."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import trustme

from facewarp_async.config import Timeouts
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers

ODD_TARGET = (
    "/bu%2Fck%7Eet/k%20+%C3%A9;a,b@c?X-Amz-Credential=ID%2F1%2Fs3&X-Amz-Expires=1&b=%7E~+%2B/:&a=&X-Amz-Signature=f0"
)
ONCE = RetryPolicy(attempts=1)
MB = 1024 * 1024


def giving(*urls: str) -> Callable[..., Awaitable[str]]:
    """Give these URLs one after the other, the last one for ever."""
    left = list(urls)

    async def give(_renew: bool = False) -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return give


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def open_files(path: Path) -> int:
    return sum(1 for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(path))


BODY = bytes(range(256)) * 40


class Range:
    """Serves `BODY` as a storage does, and cuts the first answers."""

    def __init__(self, *, cuts: int = 1, etag: str = '"one"', after: str | None = None) -> None:
        self.cuts = cuts
        self.etags = [etag, etag if after is None else after]
        self.body = BODY
        self.heeds_if_range = True

    async def __call__(self, request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        etag = self.etags.pop(0) if len(self.etags) > 1 else self.etags[0]
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if self.heeds_if_range and request.headers.get("if-range", etag) != etag:
            start = 0
        rest = self.body[start:]
        head = f"ETag: {etag}\r\n" if etag else ""
        status = "200 OK"
        if start:
            status, head = (
                "206 Partial Content",
                head + f"Content-Range: bytes {start}-{len(self.body) - 1}/{len(self.body)}\r\n",
            )
        answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(rest)}\r\n{head}\r\n".encode() + rest
        if self.cuts:
            self.cuts -= 1
            writer.write(answer[: len(answer) - len(rest) // 2])
            await writer.drain()
            await anyio.sleep(0.02)  # what the client has not read when it learns of the end is lost
            writer.close()
            return None
        return answer


class Hasher:
    """A storage that reads slowly, in odd pieces, and knows the hash of each body."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.url = ""
        self.heads: list[bytes] = []
        self.hashes: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                left, arrived, pieces = (
                    int(head.lower().partition(b"content-length:")[2].split()[0]),
                    hashlib.sha256(),
                    0,
                )
                while left:
                    piece = await reader.read(min(left, 50_000))
                    if not piece:
                        return
                    arrived.update(piece)
                    left, pieces = left - len(piece), pieces + 1
                    if pieces % 40 == 0:
                        await asyncio.sleep(self.pause_s)
                self.hashes.append(arrived.hexdigest())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def storage(*, tls: bool = False, pause_s: float = 0.002) -> AsyncIterator[tuple[Hasher, Transfers]]:
    """Run a storage, and transfers to it."""
    theirs: ssl.SSLContext | None = None
    ours: ssl.SSLContext | bool = True
    if tls:
        authority = trustme.CA()
        theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(theirs)
        authority.configure_trust(ours)
    hasher = Hasher(pause_s)
    server = await asyncio.start_server(hasher.serve, "127.0.0.1", 0, ssl=theirs)
    hasher.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(ssl=ours)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        transfers = Transfers(
            http, timeouts=Timeouts(stall_s=5), retry=RetryPolicy(attempts=1, first_s=0.01), allow_plain=True
        )
        stack.callback(transfers.close)
        yield hasher, transfers
    server.close()


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
