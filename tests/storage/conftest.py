"""The storages that the suite runs against: rclone's, and an endpoint that the environment names."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import botocore.session
import pytest
from attrs import Factory, define, evolve, field, frozen
from botocore.config import Config
from yarl import URL

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.transfer import Transfers
from tests import rclone

ENDPOINT = "FACEWARP_TEST_S3_ENDPOINT"
"""With ``…_KEY``, ``…_SECRET`` and ``…_BUCKET``, and ``…_REGION`` where it is not us-east-1."""

_OPERATIONS = {"PUT": "put_object", "GET": "get_object", "HEAD": "head_object", "DELETE": "delete_object"}


@frozen
class Reply:
    """An answer of the storage's, with the code that it gives for a refusal."""

    status: int
    code: str
    headers: Mapping[str, str]
    body: bytes


@define
class Storage:
    """A bucket on a server that verifies signatures, and whoever may sign for it.

    Args:
        base_url: Where the server is.
        bucket: Which exists.
        access_key: Who signs.
        secret_key: What they sign with.
        http: Sends what a test writes itself.
        region: What the signatures name.
        is_lenient: Whether it is known to let some things pass that S3 refuses.
    """

    base_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    http: aiohttp.ClientSession
    region: str = "us-east-1"
    is_lenient: bool = False
    _folder: str = Factory(lambda: f"facewarp-test-{uuid.uuid4()}")
    _granted: set[str] = Factory(set)
    _signer: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._signer = botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.base_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def url(self, method: str, key: str, *, expires_s: int = 1800, **signed: Any) -> str:
        """Presign a URL as the vendors' service does: besides the query the host alone is signed, and what is named."""
        if method == "PUT":
            self._granted.add(key)
        parameters = {"Bucket": self.bucket, "Key": f"{self._folder}/{key}", **signed}
        url: str = self._signer.generate_presigned_url(_OPERATIONS[method], parameters, expires_s)
        return url

    def signed_by(self, access_key: str, secret_key: str) -> Storage:
        """Return the same storage as a stranger would sign for it."""
        return evolve(self, access_key=access_key, secret_key=secret_key)

    async def request(
        self, method: str, url: str, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask for a URL, just as it is written."""
        async with self.http.request(
            method, URL(url, encoded=True), data=data, headers=headers, skip_auto_headers=["Content-Type"]
        ) as response:
            body = await response.read()
            code = re.search(rb"<Code>([^<]*)</Code>", body)
            return Reply(response.status, code[1].decode() if code else "", response.headers, body)

    async def holds(self, key: str) -> bool:
        """Tell whether there is such an object."""
        status = (await self.request("HEAD", self.url("HEAD", key))).status
        assert status in {200, 404}
        return status == 200

    async def clear(self) -> None:
        """Remove what may have been put there."""
        for key in self._granted:
            assert (await self.request("DELETE", self.url("DELETE", key))).status in {200, 204, 404}


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """For the whole folder, as the storage is."""
    return "asyncio"


def _endpoint(http: aiohttp.ClientSession) -> Storage:
    prefix = ENDPOINT.removesuffix("ENDPOINT")
    given = {name: os.environ.get(prefix + name, "") for name in ("ENDPOINT", "KEY", "SECRET", "BUCKET")}
    if missing := [prefix + name for name, value in given.items() if not value]:
        pytest.fail(f"{', '.join(missing)}: not set, but {ENDPOINT} is")
    region = os.environ.get(f"{prefix}REGION", "us-east-1")
    return Storage(given["ENDPOINT"].rstrip("/"), given["BUCKET"], given["KEY"], given["SECRET"], http, region)


@pytest.fixture(scope="package", params=["rclone", *(["endpoint"] if os.environ.get(ENDPOINT) else [])])
async def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Storage]:
    """A storage of another make. What is put there is removed again."""
    async with aiohttp.ClientSession() as http:
        if request.param == "endpoint":
            storage = _endpoint(http)
            yield storage
            await storage.clear()
        else:
            folder, access_key, secret_key = tmp_path_factory.mktemp("storage"), "the-access-key", "the-secret-key"
            (folder / "bucket").mkdir()
            with rclone.serving(folder, access_key, secret_key) as url:
                storage = Storage(url, "bucket", access_key, secret_key, http, is_lenient=True)
                yield storage
                await storage.clear()


@pytest.fixture
async def transfers(make_client: Callable[..., FaceSwapClient]) -> AsyncIterator[Transfers]:
    """A client's transfers."""
    async with make_client(Provider("peer", "http://127.0.0.1:1"), ApiKey("the-api-key")) as client:
        yield client._connection.transfers
