"""Each file once: jobs that name files of the same content share one upload, also while it is under way."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

import anyio
from attrs import define, field

from facewarp_async.errors import FaceWarpError
from facewarp_async.files import AnyMedia, FileIdentity, content_of
from facewarp_async.models import Asset
from facewarp_async.remote.looking import RemoteIdentity
from facewarp_async.transfer.progress import ProgressCallback

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 10_000
"""How many uploads are remembered, the latest used ones, so that a batch of any length needs the same memory."""


class _Latest(Generic[K, V]):
    """The values that were used last."""

    def __init__(self) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > REMEMBERED:
            self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        self._values.pop(key, None)


@define
class _Flight:
    """An upload under way. Landed without an error it has succeeded, or it was cancelled and another has to begin."""

    landed: anyio.Event = field(factory=anyio.Event)
    error: FaceWarpError | None = None


class AssetStore(Protocol):
    """Where uploads are remembered beyond the life of the process."""

    async def get(self, content: bytes, /) -> Asset | None:
        """Return the asset of a content, if one is known that may still be with the service."""
        ...

    def turn(self, content: bytes, /) -> AbstractAsyncContextManager[Asset | None]:
        """Upload a content as the only one who does; an asset is given where another process has done so meanwhile."""
        ...

    async def put(self, content: bytes, asset: Asset, /) -> None:
        """Remember an upload."""
        ...

    async def drop(self, content: bytes, asset: Asset, /) -> None:
        """Forget an upload, unless another has taken its place."""
        ...


class _NoStore:
    async def get(self, _content: bytes, /) -> Asset | None:
        return None

    def turn(self, _content: bytes, /) -> AbstractAsyncContextManager[Asset | None]:
        return nullcontext()

    async def put(self, _content: bytes, _asset: Asset, /) -> None:
        pass

    async def drop(self, _content: bytes, _asset: Asset, /) -> None:
        pass


class SharedUploads:
    """Remembers what was uploaded, by content.

    Args:
        upload: Uploads one file, as `ServiceCalls.upload`.
        store: Remembers uploads beyond the life of the process, where there is one.
    """

    def __init__(self, upload: Callable[..., Awaitable[Asset]], store: AssetStore | None = None) -> None:
        self._upload = upload
        self._store = store or _NoStore()
        self._digests: _Latest[FileIdentity | RemoteIdentity, bytes] = _Latest()
        self._assets: _Latest[bytes, Asset] = _Latest()
        self._flights: dict[bytes, _Flight] = {}

    async def asset(
        self,
        file: AnyMedia,
        *,
        slot: AbstractAsyncContextManager[Any],
        on_progress: ProgressCallback | None = None,
    ) -> Asset:
        """Return the file's asset, uploading it if nobody has.

        Cancelling the caller that uploads hands the upload to another caller that waits for it.

        Args:
            file: The file, as it was looked at.
            slot: Held while this caller uploads, and not while it waits for another's upload.
            on_progress: Called with the bytes sent and the bytes in all, if this caller uploads.

        Raises:
            FaceWarpError: The upload failed; each caller that waited for it gets an error of its own.
        """
        content = await self.content(file)
        while True:
            if (asset := self._assets.get(content)) is not None:
                return asset
            if (asset := await self._store.get(content)) is not None:
                self._assets.put(content, asset)
                return asset
            flight = self._flights.get(content)
            if flight is None:
                return await self._fly(content, file, slot, on_progress)
            await flight.landed.wait()
            if flight.error is not None:
                raise copy.copy(flight.error) from flight.error

    async def forget(self, file: AnyMedia, asset: Asset) -> None:
        """Take note that the service no longer has a file's asset, unless it was uploaded anew since."""
        content = await self.content(file)
        if self._assets.get(content) == asset:
            self._assets.drop(content)
        await self._store.drop(content, asset)  # in one step: another caller may be about to ask the store

    async def content(self, file: AnyMedia) -> bytes:
        """Return what tells the file's content from others, as `content_of`.

        Raises:
            MissingFileError: It cannot be read.
        """
        content = self._digests.get(file.identity)
        if content is None:
            content = await content_of(file)
            self._digests.put(file.identity, content)
        return content

    async def _fly(
        self,
        content: bytes,
        file: AnyMedia,
        slot: AbstractAsyncContextManager[Any],
        on_progress: ProgressCallback | None,
    ) -> Asset:
        flight = self._flights[content] = _Flight()
        try:
            async with self._store.turn(content) as others:
                asset = others or await self._send(content, file, slot, on_progress)
            self._assets.put(content, asset)
        except FaceWarpError as error:
            flight.error = error
            raise
        finally:
            del self._flights[content]
            flight.landed.set()
        return asset

    async def _send(
        self,
        content: bytes,
        file: AnyMedia,
        slot: AbstractAsyncContextManager[Any],
        on_progress: ProgressCallback | None,
    ) -> Asset:
        async with slot:
            asset = await self._upload(file, on_progress=on_progress)
        await self._store.put(content, asset)
        return asset
