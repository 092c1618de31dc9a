"""The client's transfers against a storage server of another make, that verifies signatures as S3 does."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from yarl import URL

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.errors import FileChangedError, StorageError, UrlExpiredError
from facewarp_async.files import inspect_now
from facewarp_async.models import ImageResult
from facewarp_async.transfer import Transfers
from tests.transfer.storages import MB, giving

if TYPE_CHECKING:
    from tests.storage.conftest import Storage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]


@pytest.mark.parametrize("key", ["plain.png", "a b+c~d/é%2F%7E(1)'!*.png", "deep/er/k=v&x.png", "顔/🙂 %.png"])
@pytest.mark.parametrize("size", [1000, 5 * MB + 1])
async def test_a_file_goes_there_and_back(
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path, key: str, size: int
) -> None:
    """Whatever has to be encoded in its key: the URL arrives as it was signed."""
    file, target = make_file(size=size), tmp_path / "back.png"
    await transfers.upload(inspect_now(file), giving(storage.url("PUT", key)))
    assert await transfers.download(giving(storage.url("GET", key)), target) == size
    assert target.read_bytes() == file.read_bytes()


async def test_what_else_was_signed_arrives_as_it_was(
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    """Such as the name for a download, with all that has to be encoded in it."""
    file, target = make_file(), tmp_path / "back.png"
    await transfers.upload(inspect_now(file), giving(storage.url("PUT", "named.png")))
    name = 'attachment; filename="a b+c=d&é%2F.png"'
    await transfers.download(giving(storage.url("GET", "named.png", ResponseContentDisposition=name)), target)
    assert target.read_bytes() == file.read_bytes()


async def test_many_files_at_once(storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path) -> None:
    async def there_and_back(index: int) -> None:
        file, key = make_file(f"{index}.png", size=100_000 + index), f"many/{index}.png"
        await transfers.upload(inspect_now(file), giving(storage.url("PUT", key)))
        await transfers.download(giving(storage.url("GET", key)), tmp_path / "out" / f"{index}.png")
        assert (tmp_path / "out" / f"{index}.png").read_bytes() == file.read_bytes()

    async with anyio.create_task_group() as group:
        for index in range(20):
            group.start_soon(there_and_back, index)


async def _connect(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = ssl.create_default_context() if url.scheme == "https" else None
    return await asyncio.open_connection(url.host, url.port, ssl=tls)


class CuttingProxy:
    """Passes a request on under the name that was signed, and cuts the first answer."""

    def __init__(self, storage: Storage, *, cut_after: int) -> None:
        self._storage, self._cut_after = URL(storage.base_url), cut_after
        self.heads: list[bytes] = []
        self.before: Callable[[int], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = "{}:{}".format(*writer.get_extra_info("sockname"))
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.before is not None:
            await self.before(len(self.heads))
        there, back = await _connect(self._storage)
        signed_for = head.replace(own.encode(), self._storage.authority.encode())
        back.write(signed_for.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
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
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path, changes: bool
) -> None:
    """Though not every storage heeds If-Range, and one calls a part a whole (status 200)."""
    key, target = f"cut-{changes}.png", tmp_path / "back.png"
    old, new = make_file("old.png", size=4 * MB), make_file("new.png", size=4 * MB)
    await transfers.upload(inspect_now(old), giving(storage.url("PUT", key)))
    proxy = CuttingProxy(storage, cut_after=2 * MB)

    async def change(request: int) -> None:
        if changes and request == 2:
            await transfers.upload(inspect_now(new), giving(storage.url("PUT", key)))

    proxy.before = change
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with listening:
        own = "{}:{}".format(*listening.sockets[0].getsockname())
        url = storage.url("GET", key).replace(storage.base_url, f"http://{own}", 1)
        await transfers.download(giving(url), target)
    assert target.read_bytes() == (new if changes else old).read_bytes()
    asked_for_the_rest = [b"\r\nRange: bytes=" in head for head in proxy.heads]
    assert asked_for_the_rest[:2] == [False, True]
    assert not any(asked_for_the_rest[2:])


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
    storage: Storage, transfers: Transfers, make_file: MakeFile, spoil: Callable[[str], str]
) -> None:
    url = storage.url("PUT", "probe.png")
    file = inspect_now(make_file())
    with pytest.raises(UrlExpiredError) as caught:
        await transfers.upload(file, giving(spoil(url)))
    assert caught.value.http_status == 403
    assert caught.value.storage_code
    assert "X-Amz-Signature=" not in str(caught.value).replace("X-Amz-Signature=***", "")
    await transfers.upload(file, giving(spoil(url), url))


async def test_a_url_without_a_signature_is_refused(
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    url = giving(storage.url("PUT", "anonymous.png").partition("?")[0])
    with pytest.raises(StorageError):
        await transfers.upload(inspect_now(make_file()), url)
    with pytest.raises(StorageError):
        await transfers.download(url, tmp_path / "out.png")
    assert not await storage.holds("anonymous.png")


async def test_a_url_for_one_method_is_refused_for_another(
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    with pytest.raises(UrlExpiredError):
        await transfers.upload(inspect_now(make_file()), giving(storage.url("GET", "method.png")))
    with pytest.raises(UrlExpiredError):
        await transfers.download(giving(storage.url("PUT", "method.png")), tmp_path / "out.png")


async def test_a_url_that_lapsed_is_refused_and_another_is_asked_for(
    storage: Storage, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    file, out = inspect_now(make_file()), tmp_path / "out.png"
    lapsed_put, lapsed_get = (storage.url(method, "lapsed.png", expires_s=1) for method in ("PUT", "GET"))
    await anyio.sleep(2.1)  # the server's clock cannot be set
    if storage.is_lenient:  # it says 400, which another URL does not mend with S3
        with pytest.raises(StorageError) as caught:
            await transfers.upload(file, giving(lapsed_put))
    else:
        with pytest.raises(UrlExpiredError) as caught:
            await transfers.upload(file, giving(lapsed_put))
        await transfers.upload(file, giving(lapsed_put, storage.url("PUT", "lapsed.png")))
        await transfers.download(giving(lapsed_get, storage.url("GET", "lapsed.png")), out)
        assert out.read_bytes() == make_file().read_bytes()
    assert caught.value.storage_code == "AccessDenied"
    assert await storage.holds("lapsed.png") is not storage.is_lenient


async def test_an_unknown_key_is_told_by_the_servers_own_code(
    storage: Storage, transfers: Transfers, tmp_path: Path
) -> None:
    with pytest.raises(StorageError) as caught:
        await transfers.download(giving(storage.url("GET", "no/such.png")), tmp_path / "out.png")
    assert (caught.value.http_status, caught.value.storage_code) == (404, "NoSuchKey")


async def test_a_file_that_shrinks_as_it_is_sent_is_not_stored(
    storage: Storage, transfers: Transfers, make_file: MakeFile
) -> None:
    """Not even its beginning."""
    path, url = make_file(size=8 * MB), giving(storage.url("PUT", "shrunk.png"))
    file = inspect_now(path)
    with pytest.raises(FileChangedError):
        await transfers.upload(file, url, on_progress=lambda _sent, _total: os.truncate(path, 1000))
    assert not await storage.holds("shrunk.png")


async def test_a_result_of_the_client_is_fetched(
    storage: Storage, make_client: MakeClient, transfers: Transfers, make_file: MakeFile, tmp_path: Path
) -> None:
    await transfers.upload(inspect_now(make_file()), giving(storage.url("PUT", "result.png")))
    result = ImageResult(task_id=1, key="result.png", url=storage.url("GET", "result.png"))
    async with make_client(Provider("peer", "http://127.0.0.1:1"), ApiKey("the-api-key")) as client:
        await client.download(result, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == make_file().read_bytes()
