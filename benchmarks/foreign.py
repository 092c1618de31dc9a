"""Other HTTP clients in `benchmarks.transfers`, run by a Python that has them: NAME URL CA FOLDER CONCURRENCY."""

from __future__ import annotations

import asyncio
import importlib
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.harness import Meter


async def run_httpx(url: str, ca: str, files: list[Path], concurrency: int) -> None:
    httpx: Any = importlib.import_module("httpx")
    verify: Any = ssl.create_default_context(cafile=ca) if ca != "-" else False
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    loop, left = asyncio.get_running_loop(), iter(files)
    async with httpx.AsyncClient(verify=verify, timeout=None, limits=limits, trust_env=False) as client:
        await client.get(f"{url}/bytes/1")

        async def worker() -> None:
            for file in left:
                body = await loop.run_in_executor(None, file.read_bytes)
                response = await client.put(f"{url}/{file.name}", content=body)
                assert response.status_code == 200

        with Meter() as meter:
            await asyncio.gather(*(worker() for _ in range(concurrency)))
    meter.tell()


def run_boto3(url: str, ca: str, files: list[Path], concurrency: int) -> None:
    boto3: Any = importlib.import_module("boto3")
    config: Any = importlib.import_module("botocore.config")
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="id",
        aws_secret_access_key="key",
        region_name="us-east-1",
        verify=ca if ca != "-" else None,
        config=config.Config(
            max_pool_connections=concurrency,
            proxies={},
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )

    def put(file: Path) -> None:
        with file.open("rb") as body:
            client.put_object(Bucket="b", Key=file.name, Body=body)

    put(files[0])
    with ThreadPoolExecutor(concurrency) as threads, Meter() as meter:
        list(threads.map(put, files))
    meter.tell()


def main(name: str, url: str, ca: str, folder: str, concurrency: str) -> None:
    files = sorted(Path(folder).iterdir())
    if name == "httpx":
        asyncio.run(run_httpx(url, ca, files, int(concurrency)))
    else:
        run_boto3(url, ca, files, int(concurrency))


if __name__ == "__main__":
    main(*sys.argv[1:])
