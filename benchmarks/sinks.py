"""Starts the sink that takes uploads, gives downloads and answers calls, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from attrs import frozen

SOURCE = Path(__file__).with_name("sink.c")
PIECE = bytes(256 * 1024)


@frozen(kw_only=True)
class Sink:
    """A sink that runs.

    Attributes:
        url: Where.
        ca: The certificate to trust; ``None`` over plain HTTP.
        is_fast: Whether it is the one in C. The one in Python may be what is measured.
    """

    url: str
    ca: Path | None
    is_fast: bool

    def counts(self) -> tuple[int, int, int]:
        """Return connections and requests so far, without this one, and bytes of bodies taken."""
        context = None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"{self.url}/counts", timeout=30) as answer:
            connections, requests, taken = json.load(answer)
        return connections - 1, requests - 1, taken


@frozen(kw_only=True)
class Workshop:
    """A folder with what sinks need."""

    folder: Path
    program: Path | None
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Workshop]:
        """Make a certificate, and compile the sink where there is a compiler."""
        with tempfile.TemporaryDirectory(prefix="facewarp-bench-") as name:
            folder = Path(name)
            authority = trustme.CA()
            issued = authority.issue_cert("127.0.0.1", "localhost")
            authority.cert_pem.write_to_path(str(folder / "ca.pem"))
            (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
            issued.private_key_pem.write_to_path(str(folder / "key.pem"))
            program = _compiled(folder / "sink")
            if program is None:
                print("no C compiler with OpenSSL: the sink is Python, and may be what is measured")
            yield cls(
                folder=folder,
                program=program,
                ca=folder / "ca.pem",
                certificate=folder / "cert.pem",
                key=folder / "key.pem",
            )

    @contextmanager
    def sink(self, *, tls: bool = False, answer: object = None, unread: bool = False) -> Iterator[Sink]:
        """Run a sink.

        Args:
            tls: Whether it speaks TLS.
            answer: What it answers to calls, as JSON.
            unread: Whether bodies over TLS are counted and not decrypted.
        """
        body = self.folder / "answer.json"
        body.write_text(json.dumps(answer))
        mine = [sys.executable, __file__] if self.program is None else [str(self.program)]
        command = [*mine, "0", str(body), *([str(self.certificate), str(self.key)] if tls else [])]
        env = {**os.environ, **({"SINK_UNREAD": "1"} if unread else {})}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as child:
            try:
                assert child.stdout is not None
                port = int(child.stdout.readline())
                yield Sink(
                    url=f"{'https' if tls else 'http'}://127.0.0.1:{port}",
                    ca=self.ca if tls else None,
                    is_fast=self.program is not None,
                )
            finally:
                child.kill()


def _compiled(target: Path) -> Path | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    command = [compiler, "-O2", "-o", str(target), str(SOURCE), "-lssl", "-lcrypto"]
    done = subprocess.run(command, capture_output=True, check=False)
    return target if done.returncode == 0 else None


class _PythonSink:
    """The same in Python, for where nothing can be compiled."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._counts = [0, 0, 0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._counts[0] += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                if "expect:" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self._take(reader, int(head.lower().partition("content-length:")[2].split("\r\n")[0] or 0))
                self._counts[1] += 1
                await self._give(writer, method, path.partition("?")[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, left: int) -> None:
        while left:
            chunk = await reader.read(min(left, len(PIECE)))
            if not chunk:
                raise ConnectionResetError
            left -= len(chunk)
            self._counts[2] += len(chunk)

    async def _give(self, writer: asyncio.StreamWriter, method: str, path: str) -> None:
        body, zeros = self._answer, 0
        if method == "PUT":
            body = b""
        elif path.startswith("/bytes/"):
            body, zeros = b"", int(path.removeprefix("/bytes/"))
        elif path == "/counts":
            body = json.dumps(self._counts).encode()
        writer.write(f'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: {len(body) + zeros}\r\n\r\n'.encode() + body)
        while zeros:
            writer.write(PIECE[:zeros])
            zeros -= min(zeros, len(PIECE))
            await writer.drain()
        await writer.drain()


async def _serve(arguments: list[str]) -> None:
    port, answer, *certificate = arguments
    context: Any = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    sink = _PythonSink(Path(answer).read_bytes())  # noqa: ASYNC240 - before anything is served
    server = await asyncio.start_server(sink.serve, "127.0.0.1", int(port), ssl=context, limit=1024 * 1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
