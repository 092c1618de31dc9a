"""The client's transfers against a storage server of another make, that verifies signatures as S3 does."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import botocore.session
import pytest
from attrs import frozen
from botocore.config import Config
from yarl import URL

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.errors import StorageError, UrlExpiredError
from facewarp_async.files import inspect_now
from facewarp_async.models import ImageResult
from facewarp_async.transfer import Transfers

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]

ACCESS_KEY, SECRET_KEY, BUCKET = "the-access-key", "the-secret-key", "bucket"
RCLONE = Path(sys.executable).parent / "rclone"
MB = 1024 * 1024


@frozen
class Server:
    base_url: str
    folder: Path
    signer: Any

    def url(self, method: str, key: str, *, expires_s: int = 1800) -> str:
        """Presign a URL as the vendors' service does: the host is all that is signed, besides the query."""
        operation = {"PUT": "put_object", "GET": "get_object", "HEAD": "head_object"}[method]
        url: str = self.signer.generate_presigned_url(operation, {"Bucket": BUCKET, "Key": key}, expires_s)
        return url

    def stored(self, key: str) -> Path:
        return self.folder / BUCKET / key


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """For the whole module, as the server is."""
    return "asyncio"


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    binary = str(RCLONE) if RCLONE.exists() else shutil.which("rclone")
    if binary is None:
        pytest.skip("rclone is not installed")
    folder = tmp_path_factory.mktemp("storage")
    (folder / BUCKET).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [
        binary,
        "serve",
        "s3",
        "--addr",
        address,
        "--auth-key",
        f"{ACCESS_KEY},{SECRET_KEY}",
        "--quiet",
        str(folder),
    ]
    environ = {**os.environ, "RCLONE_CONFIG": str(folder.with_suffix(".conf"))}
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    signer = botocore.session.Session().create_client(
        "s3",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    try:
        with anyio.fail_after(30):
            while not await _answers(port):  # noqa: ASYNC110 - another process: there is no event
                await anyio.sleep(0.02)
        yield Server(f"http://{address}", folder, signer)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def transfers(make_client: MakeClient) -> AsyncIterator[Transfers]:
    async with make_client(Provider("peer", "http://127.0.0.1:1"), ApiKey("the-api-key")) as client:
        yield client._connection.transfers


def giving(*urls: str) -> Callable[..., Awaitable[str]]:
    left = list(urls)

    async def give(_renew: bool = False) -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return give


@pytest.mark.parametrize("key", ["plain.png", "a b+c~d/é%2F%7E(1)'!*.png", "deep/er/k=v&x.png"])
@pytest.mark.parametrize("size", [1000, 5 * MB + 1])
async def test_a_file_goes_there_and_back(
    server: Server, transfers: Transfers, make_file: MakeFile, tmp_path: Path, key: str, size: int
) -> None:
    """Whatever has to be encoded in its key: the URL arrives as it was signed."""
    file, target = make_file(size=size), tmp_path / "back.png"
    await transfers.upload(inspect_now(file), giving(server.url("PUT", key)))
    assert await transfers.download(giving(server.url("GET", key)), target) == size
    assert target.read_bytes() == file.read_bytes()


async def test_many_files_at_once(server: Server, transfers: Transfers, make_file: MakeFile, tmp_path: Path) -> None:
    async def there_and_back(index: int) -> None:
        file, key = make_file(f"{index}.png", size=100_000 + index), f"many/{index}.png"
        await transfers.upload(inspect_now(file), giving(server.url("PUT", key)))
        await transfers.download(giving(server.url("GET", key)), tmp_path / "out" / f"{index}.png")
        assert (tmp_path / "out" / f"{index}.png").read_bytes() == file.read_bytes()

    async with anyio.create_task_group() as group:
        for index in range(20):
            group.start_soon(there_and_back, index)


class CuttingProxy:
    """Passes a request on under the name that was signed, and cuts the first answer."""

    def __init__(self, server: Server, *, cut_after: int) -> None:
        self._host, self._cut_after = URL(server.base_url).authority, cut_after
        self.heads: list[bytes] = []
        self.before: Callable[[int], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = "{}:{}".format(*writer.get_extra_info("sockname"))
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.before is not None:
            await self.before(len(self.heads))
        there, back = await asyncio.open_connection(*self._host.split(":"))
        back.write(
            head.replace(own.encode(), self._host.encode()).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        left = self._cut_after if len(self.heads) == 1 else 1024 * MB
        try:
            while left and (chunk := await there.read(min(left, 64 * 1024))):
                left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
            await anyio.sleep(0.05)  # what the client has not read when it learns of the end is lost
        except ConnectionError:  # the client did not want this answer
            pass
        finally:
            back.close()
            writer.close()


@pytest.mark.parametrize("changes", [False, True])
async def test_a_download_that_was_cut_goes_on_only_where_the_file_is_the_same(
    server: Server, transfers: Transfers, make_file: MakeFile, tmp_path: Path, changes: bool
) -> None:
    """Though this server does not heed If-Range, and calls a part a whole (status 200)."""
    key, target = f"cut-{changes}.png", tmp_path / "back.png"
    old, new = make_file("old.png", size=4 * MB), make_file("new.png", size=4 * MB)
    await transfers.upload(inspect_now(old), giving(server.url("PUT", key)))
    proxy = CuttingProxy(server, cut_after=2 * MB)

    async def change(request: int) -> None:
        if changes and request == 2:
            await transfers.upload(inspect_now(new), giving(server.url("PUT", key)))

    proxy.before = change
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with listening:
        own = "{}:{}".format(*listening.sockets[0].getsockname())
        url = server.url("GET", key).replace(URL(server.base_url).authority, own, 1)
        await transfers.download(giving(url), target)
    assert target.read_bytes() == (new if changes else old).read_bytes()
    assert [b"\r\nRange: bytes=" in head for head in proxy.heads] == [False, True] + [False] * changes


# What the server refuses, and what the client makes of it


def _other_signature(url: str) -> str:
    return url[:-4] + ("0000" if url[-4:] != "0000" else "1111")


@pytest.mark.parametrize(
    "spoil",
    [
        _other_signature,
        lambda url: url.replace("probe.png", "other.png"),
        lambda url: url.replace("X-Amz-Expires=1800", "X-Amz-Expires=1801"),
    ],
    ids=["signature", "key", "expiry"],
)
async def test_an_altered_url_is_refused_and_another_is_asked_for(
    server: Server, transfers: Transfers, make_file: MakeFile, spoil: Callable[[str], str]
) -> None:
    url = server.url("PUT", "probe.png")
    file = inspect_now(make_file())
    with pytest.raises(UrlExpiredError) as caught:
        await transfers.upload(file, giving(spoil(url)))
    assert caught.value.http_status == 403
    assert caught.value.storage_code
    assert "X-Amz-Signature=" not in str(caught.value).replace("X-Amz-Signature=***", "")
    await transfers.upload(file, giving(spoil(url), url))


async def test_a_url_without_a_signature_is_refused(
    server: Server, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    url = giving(server.url("PUT", "anonymous.png").partition("?")[0])
    with pytest.raises(StorageError):
        await transfers.upload(inspect_now(make_file()), url)
    with pytest.raises(StorageError):
        await transfers.download(url, tmp_path / "out.png")
    assert not server.stored("anonymous.png").exists()


async def test_a_url_for_one_method_is_refused_for_another(
    server: Server, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    with pytest.raises(UrlExpiredError):
        await transfers.upload(inspect_now(make_file()), giving(server.url("GET", "method.png")))
    with pytest.raises(UrlExpiredError):
        await transfers.download(giving(server.url("PUT", "method.png")), tmp_path / "out.png")


async def test_a_url_that_lapsed_is_refused(server: Server, transfers: Transfers, make_file: MakeFile) -> None:
    lapsed = server.url("PUT", "lapsed.png", expires_s=1)
    await anyio.sleep(2.1)  # the server's clock cannot be set
    with pytest.raises(StorageError) as caught:
        await transfers.upload(inspect_now(make_file()), giving(lapsed))
    assert caught.value.storage_code == "AccessDenied"
    assert not server.stored("lapsed.png").exists()


async def test_an_unknown_key_is_told_by_the_servers_own_code(
    server: Server, transfers: Transfers, tmp_path: Path
) -> None:
    with pytest.raises(StorageError) as caught:
        await transfers.download(giving(server.url("GET", "no/such.png")), tmp_path / "out.png")
    assert (caught.value.http_status, caught.value.storage_code) == (404, "NoSuchKey")


async def test_the_server_refuses_what_the_client_takes_care_not_to_send(server: Server) -> None:
    """A body in chunks, a key that was encoded anew: so a success of the client's is a proof."""

    async def body() -> AsyncIterator[bytes]:
        yield b"in chunks"

    async with aiohttp.ClientSession() as http:
        async with http.put(URL(server.url("PUT", "a.png"), encoded=True), data=body()) as response:
            assert response.status == 411
        async with http.put(URL(server.url("PUT", "a.png").replace("a.png", "%2561.png"), encoded=True)) as response:
            assert response.status == 403
        async with http.put(URL(server.url("PUT", "a.png"), encoded=True), data=b"x") as response:
            assert response.status == 200


async def test_a_result_of_the_client_is_fetched(
    server: Server, make_client: MakeClient, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    await transfers.upload(inspect_now(make_file()), giving(server.url("PUT", "result.png")))
    result = ImageResult(task_id=1, key="result.png", url=server.url("GET", "result.png"))
    async with make_client(Provider("peer", "http://127.0.0.1:1"), ApiKey("the-api-key")) as client:
        await client.download(result, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == make_file().read_bytes()
