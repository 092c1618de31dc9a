"""The storages that transfers are tested with, and what tells how a transfer went."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from facewarp_async.policy.retry import RetryPolicy

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
