"""Stand-ins for four services in one process: their protocols only, in memory, as fast as a plain asyncio protocol is.

Tasks end a fixed time after their creation. What was asked is counted: ``GET /counts``. Run in a process of its own by
`standin`; knows no aiohttp, so that it is not what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from attrs import frozen

_SHORT = 64 * 1024
"""Bodies up to this length are kept, as those of calls are; files are thrown away."""


class _Service:
    """Answers requests.

    Args:
        task_s: How long a task takes.
        result_bytes: How long a result is.
    """

    def __init__(self, task_s: float, result_bytes: int) -> None:
        self.url = ""
        self._task_s = task_s
        self._result = b"\x89PNG\r\n\x1a\n" + bytes(result_bytes - 8)
        self._numbers = itertools.count(1)
        self._done_at: dict[int, float] = {}
        self._counts: Counter[str] = Counter()
        self._routes: dict[str, Callable[[str, str, bytes], Any]] = {
            "v1/source/upload-url": self._grant,
            "v1/task/face-swap": lambda *_: _envelope({"task_id": self._create()}),
            "v1/task/detail": self._detail,
            "v1/files/upload-urls": self._magic_grant,
            "v1/face-swap-photo": lambda *_: {"id": str(self._create()), "credits_charged": 1, "frame_cost": 1},
            "v1/image-projects": self._magic_project,
            "v1/files": self._replicate_file,
            "v1/predictions": self._replicate_prediction,
            "v1/models": self._replicate_prediction,
            "api/v3/media": self._wave_grant,
            "api/v3/swap": lambda *_: {"code": 200, "data": {"id": str(self._create())}},
            "api/v3/predictions": self._wave_result,
        }

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """Return the body of an answer."""
        path = target.partition("?")[0].strip("/")
        if path == "counts":
            return json.dumps(self._counts).encode()
        self._counts["requests"] += 1
        if path.startswith("storage"):
            self._counts["files" if method == "PUT" else "results"] += 1
            return b"" if method == "PUT" else self._result
        parts = path.split("/")
        route = next(route for length in (3, 2) if (route := self._routes.get("/".join(parts[:length]))))
        return json.dumps(route(method, target, body)).encode()

    def _create(self) -> int:
        number = next(self._numbers)
        self._done_at[number] = asyncio.get_running_loop().time() + self._task_s
        self._counts["tasks"] += 1
        return number

    def _is_done(self, number: int) -> bool:
        self._counts["looks"] += 1
        return asyncio.get_running_loop().time() >= self._done_at[number]

    def _file(self, name: str = "file") -> str:
        return f"{self.url}/storage/{name}/{next(self._numbers)}.png?X-Amz-Expires=1800&X-Amz-Signature={'0' * 64}"

    def _grant(self, *_: object) -> Any:
        return _envelope({"upload_url": self._file(), "key": f"temporary/{next(self._numbers)}.png"})

    def _detail(self, _method: str, target: str, _body: bytes) -> Any:
        number = int(target.partition("id=")[2])
        if not self._is_done(number):
            return _envelope({"id": number, "status": 1, "message": ""})
        data = {"merge_key": f"out/{number}.png", "merge_url": self._file("result"), "size": len(self._result)}
        return _envelope({"id": number, "status": 0, "message": "", "additional_data": data})

    def _magic_grant(self, *_: object) -> Any:
        path = f"api-assets/{next(self._numbers)}.png"
        return {"items": [{"expires_at": "2030-01-01T00:00:00Z", "file_path": path, "upload_url": self._file()}]}

    def _magic_project(self, _method: str, target: str, _body: bytes) -> Any:
        number = int(target.rpartition("/")[2])
        is_done = self._is_done(number)
        downloads = [{"url": self._file("result"), "expires_at": "2030-01-01T00:00:00Z"}] if is_done else []
        return {
            "id": str(number),
            "created_at": "2026-01-01T00:00:00Z",
            "credits_charged": 1,
            "downloads": downloads,
            "enabled": True,
            "image_count": 1,
            "name": "a",
            "status": "complete" if is_done else "rendering",
            "total_frame_cost": 1,
            "type": "FACE_SWAP",
            "error": None,
        }

    def _replicate_file(self, *_: object) -> Any:
        self._counts["files"] += 1
        number = next(self._numbers)
        return {
            "id": str(number),
            "name": "a.png",
            "content_type": "image/png",
            "size": 1,
            "etag": "x",
            "checksums": {},
            "metadata": {},
            "created_at": "2026-01-01T00:00:00Z",
            "expires_at": None,
            "urls": {"get": f"{self.url}/storage/file/{number}.png"},
        }

    def _replicate_prediction(self, method: str, target: str, _body: bytes) -> Any:
        number = self._create() if method == "POST" else int(target.rpartition("/")[2])
        is_done = method == "GET" and self._is_done(number)
        return {
            "id": str(number),
            "model": "a/b",
            "version": "c",
            "status": "succeeded" if is_done else "processing",
            "input": {},
            "output": self._file("result") if is_done else None,
            "logs": "",
            "error": None,
            "metrics": None,
            "created_at": None,
            "started_at": None,
            "completed_at": None,
            "urls": {"get": f"{self.url}/v1/predictions/{number}"},
        }

    def _wave_grant(self, *_: object) -> Any:
        url = self._file()
        upload = {"url": url, "method": "PUT", "headers": {}}
        return {"code": 200, "data": {"upload": upload, "upload_url": url, "download_url": self._file(), **upload}}

    def _wave_result(self, _method: str, target: str, _body: bytes) -> Any:
        number = int(target.split("/")[-2])
        is_done = self._is_done(number)
        outputs = [self._file("result")] if is_done else []
        return {"code": 200, "data": {"status": "completed" if is_done else "processing", "outputs": outputs}}


def _envelope(data: Any) -> Any:
    return {"code": 200, "message": "success", "data": data}


class _Connection(asyncio.Protocol):
    """As much of HTTP/1.1 as the clients speak: Content-Length or chunks in, keep-alive."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._buffer = bytearray()
        self._request: tuple[str, str] | None = None
        self._left = 0
        self._is_chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._request is not None and not self._is_chunked and len(data) <= self._left > _SHORT:
            self._left -= len(data)  # of a file
            if not self._left:
                self._respond(b"")
            return
        self._buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        """Take what is whole of a request; whether there may be more."""
        buffer = self._buffer
        if self._request is None:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                return False
            self._buffer = rest
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self._request, self._left = (method, target), int(headers.get("content-length", 0))
            self._is_chunked = "transfer-encoding" in headers
            if headers.get("expect"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return True
        if self._is_chunked:
            if not buffer.endswith(b"0\r\n\r\n"):
                del buffer[:-16]
                return False
            buffer.clear()
            self._respond(b"")
            return False
        if self._left > _SHORT:
            self._left -= len(buffer)
            buffer.clear()
            if not self._left:
                self._respond(b"")
            return False
        if len(buffer) < self._left:
            return False
        body = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._respond(body)
        return bool(buffer)

    def _respond(self, body: bytes) -> None:
        assert self._request is not None
        request, self._request, self._left = self._request, None, 0
        answer = self._service.answer(*request, body)
        kind = b"application/json" if answer[:1] in b"{[" else b"image/png"
        self._transport.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: %b\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n' % (kind, len(answer))
        )
        self._transport.write(answer)


async def _serve(task_s: float, result_bytes: int) -> None:
    service = _Service(task_s, result_bytes)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", 0, backlog=1024)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(service.url, flush=True)
    await server.serve_forever()


@frozen
class StandIn:
    """A stand-in that runs."""

    url: str

    def counts(self) -> dict[str, int]:
        """Return how often what was asked."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/counts", timeout=30) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


@contextmanager
def standin(*, task_s: float, result_bytes: int) -> Iterator[StandIn]:
    """Run one."""
    command = [sys.executable, str(Path(__file__)), str(task_s), str(result_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield StandIn(child.stdout.readline().strip())
        finally:
            child.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), int(sys.argv[2])))
