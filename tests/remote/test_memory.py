"""How much memory a large file from elsewhere, and to there, takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from facewarp_async.server import LocalService

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MB = 1024 * 1024
SIZE = 48 * MB
"""The peak grows by less, by some pieces and what the driver makes of them. No larger, for rclone reads all of an
object for each piece that it gives."""

_PROGRAM = """
import pathlib, sys
import anyio
from facewarp_async import ApiKey, FaceSwapClient, Provider

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

async def main(base_url, key):
    async with FaceSwapClient(Provider("local", base_url, requests_per_second=None), ApiKey(key)) as client:
        async def there_and_back(name):
            result = await client.swap_image(f"s3://bucket/{name}", "s3://bucket/small.png")
            await client.download(result, f"s3://bucket/out/{name}")

        await there_and_back("small.png")  # the driver is loaded, the connections are made
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        await there_and_back("large.png")
        print(peak() - before)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells and forgets the peak")
async def test_a_large_file_there_and_back_takes_a_few_pieces_of_memory(bucket: Bucket, local: LocalService) -> None:
    head = b"\x89PNG\r\n\x1a\n"
    bucket.put("small.png", head)
    bucket.put("large.png", head.ljust(SIZE, b"\0"))
    command = [sys.executable, "-c", _PROGRAM, local.provider.base_url, local.auth.key]
    done = await anyio.run_process(command, env=os.environ | bucket.environment, stderr=None)
    grown = int(done.stdout)
    print(f"{grown / MB:.1f} MiB more at the peak")
    assert (bucket.folder / "out" / "large.png").stat().st_size == SIZE
    assert grown < SIZE
