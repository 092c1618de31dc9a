"""What is written in an hour with aiohttp: one semaphore over whole jobs, and looks at intervals."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from attrs import Factory, define, frozen
from yarl import URL

from benchmarks.pace_regimes import Regime
from facewarp_async.config import Provider
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import TimeLeft
from facewarp_async.wire.requests import CREATE_PATHS, TASK_PATH, UPLOAD_URL_PATH


@define
class Batch:
    """A batch for a client: its jobs' files, and what it has found out when."""

    regime: Regime
    provider: Provider
    key: str
    face: Path
    media: Sequence[Path]
    out: Path
    noticed_at: dict[int, float] = Factory(dict)
    told: list[tuple[float, TimeLeft]] = Factory(list)
    """For how long it was to go on, and when that was told."""


@frozen(kw_only=True)
class Polling:
    """How a plain client looks at a task, in seconds before compression."""

    first_s: float
    factor: float = 1.0
    longest_s: float = 15.0
    at_once: int = 10
    has_limiter: bool = False


PLAIN = {
    "every 0.5 s": Polling(first_s=0.5),
    "every 1 s": Polling(first_s=1.0),
    "every 3 s": Polling(first_s=3.0),
    "back-off": Polling(first_s=1.0, factor=1.5, at_once=32, has_limiter=True),
}


class Limiter:
    """Lets calls leave evenly, in the order in which they ask."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s, self._free_at = gap_s, 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at + self._gap_s)
        await asyncio.sleep(self._free_at - now)


class PlainClient:
    """Leads one job after the other through the protocol."""

    def __init__(self, batch: Batch, polling: Polling, http: aiohttp.ClientSession) -> None:
        self._batch, self._polling, self._http = batch, polling, http
        rate = batch.provider.requests_per_second
        self._limiter = Limiter(1.03 / rate if rate and polling.has_limiter else 0.0)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        wait_s = 1.0 / self._batch.regime.factor
        while True:
            await self._limiter.turn()
            async with self._http.request(
                method, self._batch.provider.base_url + path, headers=_bearer(self._batch.key), **options
            ) as response:
                answer = await response.json(content_type=None)
            if answer["code"] == 200:
                return answer["data"]
            assert answer["code"] in {802, 500}, answer
            await asyncio.sleep(random.random() * wait_s)
            wait_s = min(2 * wait_s, 30.0 / self._batch.regime.factor)

    async def _upload(self, path: Path) -> str:
        grant = await self._call("POST", UPLOAD_URL_PATH, json={"file_name": path.name})
        async with self._http.put(
            URL(grant["upload_url"], encoded=True), data=await asyncio.to_thread(path.read_bytes)
        ) as response:
            response.raise_for_status()
        key: str = grant["key"]
        return key

    async def swap(self, index: int, path: Path) -> None:
        kind = TaskKind.VIDEO_SWAP if path.suffix == ".mp4" else TaskKind.IMAGE_SWAP
        main_key, target_key = [await self._upload(each) for each in (path, self._batch.face)]
        body = {"main_key": main_key, "target_key": target_key}
        task = await self._call("POST", CREATE_PATHS[kind], json=body)
        wait_s = self._polling.first_s
        while True:
            await asyncio.sleep(wait_s / self._batch.regime.factor)
            data = await self._call("GET", TASK_PATH, params={"id": task["task_id"]})
            if data["status"] == 0:
                break
            wait_s = min(wait_s * self._polling.factor, self._polling.longest_s)
        self._batch.noticed_at[index] = time.monotonic()
        async with self._http.get(URL(data["additional_data"]["merge_url"], encoded=True)) as response:
            body_bytes = await response.read()
        await asyncio.to_thread((self._batch.out / path.name).write_bytes, body_bytes)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def run_plain(batch: Batch, polling: Polling) -> list[Path]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        client, waiting = PlainClient(batch, polling, http), asyncio.Semaphore(polling.at_once)

        async def job(index: int, path: Path) -> None:
            async with waiting:
                await client.swap(index, path)

        async with asyncio.TaskGroup() as group:
            for index, path in enumerate(batch.media):
                group.create_task(job(index, path))
    return [batch.out / path.name for path in batch.media]
