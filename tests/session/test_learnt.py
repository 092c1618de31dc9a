"""What is kept of what was learnt, and that losing it does no harm."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.abc
import anyio
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import VIDNOZ, ApiKey, Provider
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import Watch
from facewarp_async.server import LocalService
from facewarp_async.session.learnt import LearntFile, dump, learnt_path, parse, user_cache_dir

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP
URL = VIDNOZ.base_url

pytestmark = pytest.mark.anyio


def taught(*, tasks: int = 30) -> LearntPolling:
    """A policy that has seen tasks of three seconds, one after the other."""
    policy = LearntPolling.for_provider(VIDNOZ)
    for number in range(tasks):
        watch = Watch(IMAGE, 100 * number)
        policy.add(watch)
        while watch.begins:
            early, at = policy.plan(watch).early, watch.created_at
            policy.learn(watch, early, early >= at + 3)
            watch.looks, watch.looked_at = watch.looks + 1, early
    return policy


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fresh(path: Path) -> tuple[LearntPolling, LearntFile]:
    policy = LearntPolling.for_provider(VIDNOZ)
    return policy, LearntFile(path, URL, policy)


async def test_the_next_run_starts_from_what_was_learnt(tmp_path: Path) -> None:
    path, policy = tmp_path / "a" / "b" / "polling.json", taught()
    await LearntFile(path, URL, policy).keep()
    second, file = fresh(path)
    await file.recall()
    assert second.durations(IMAGE).typical_s == pytest.approx(policy.settled()[IMAGE].typical_s, abs=0.001)
    assert second.durations(IMAGE).typical_s == pytest.approx(3, rel=0.25)
    assert 0 < second.durations(IMAGE).seen < 20, "it is a start: what is found out counts for more"
    assert second.durations(VIDEO).typical_s == pytest.approx(VIDNOZ.typical_video_s)
    assert names(path.parent) == ["polling.json"]


async def test_other_kinds_stay_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "polling.json"
    path.write_bytes(dump({VIDEO: Durations(40, 0.5), IMAGE: Durations(9, 0.5)}, base_url=URL))
    await LearntFile(path, URL, taught()).keep()
    kept = parse(path.read_bytes(), base_url=URL)
    assert (kept[VIDEO].typical_s, kept[VIDEO].spread) == pytest.approx((40, 0.5))
    assert kept[IMAGE].typical_s < 4


async def test_what_few_tasks_have_taught_is_not_kept(tmp_path: Path) -> None:
    await LearntFile(tmp_path / "polling.json", URL, taught(tasks=19)).keep()
    assert names(tmp_path) == []


DAMAGED = [
    b"",
    b"\xff\xfe",
    b"[" * 50_000,
    b"{}",
    b'{"version": 2}',
    dump({IMAGE: Durations(1)}, base_url="https://elsewhere.example"),
    dump({IMAGE: Durations(1)}, base_url=URL)[:-9],
    json.dumps({"version": 1, "base_url": URL, "kinds": {}}).encode(),
]


@pytest.mark.parametrize("body", DAMAGED)
async def test_a_damaged_file_is_as_good_as_none_and_is_replaced(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "polling.json"
    path.write_bytes(body)
    policy, file = fresh(path)
    await file.recall()
    assert policy.durations(IMAGE).typical_s == pytest.approx(VIDNOZ.typical_image_s)
    await LearntFile(path, URL, taught()).keep()
    assert IMAGE in parse(path.read_bytes(), base_url=URL)


numbers = st.one_of(st.none(), st.booleans(), st.floats(), st.sampled_from(["6", [], -1, 0, 10**400]))
durations_or_not = st.one_of(numbers, st.fixed_dictionaries({"typical_s": numbers}, optional={"spread": numbers}))


@given(st.dictionaries(st.sampled_from([IMAGE.value, VIDEO.value, "another"]), durations_or_not))
def test_only_sensible_durations_are_read(kinds: dict[str, Any]) -> None:
    body = json.dumps({"version": 2, "base_url": URL, "kinds": kinds}).encode()
    policy = LearntPolling.for_provider(VIDNOZ)
    for kind, durations in parse(body, base_url=URL).items():
        policy.adopt(kind, durations)
        watch = Watch(kind, 0)
        policy.add(watch)
        plan = policy.plan(watch)
        assert 0 < plan.eager <= plan.early <= plan.late < math.inf


@pytest.mark.parametrize("name", ["folder", "file/below"])
async def test_a_place_that_cannot_be_written_does_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    _, file = fresh(tmp_path / name)
    await file.recall()
    await LearntFile(tmp_path / name, URL, taught()).keep()
    assert names(tmp_path) == ["file", "folder"]


async def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "polling.json"
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(LearntFile(path, URL, taught()).keep)
    assert IMAGE in parse(path.read_bytes(), base_url=URL)
    assert names(tmp_path) == ["polling.json"]


async def test_the_file_is_read_once_and_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, opened = list[str](), Path.open

    def watched(path: Path, *args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", watched)
    _, file = fresh(tmp_path / "polling.json")
    for _ in range(3):
        await file.recall()
    assert len(threads) == 1
    assert threads[0] != threading.main_thread().name


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1:8000",
        "127.8.9.1",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "a.localhost",
        "localhost.",
    ],
)
def test_nothing_is_kept_of_a_service_on_this_machine(host: str) -> None:
    assert learnt_path(Provider("here", f"http://{host}"), "/somewhere", {}) is None


def test_each_service_has_a_file_of_its_own() -> None:
    paths = {learnt_path(evolve(VIDNOZ, base_url=url), "/c", {}) for url in (URL, URL + "/v2", "https://b.example")}
    assert len(paths) == 3
    assert all(path is not None and path.parent == Path("/c") for path in paths)


def test_the_parameter_wins_over_the_variable_and_that_over_the_users_directory() -> None:
    def parent(choice: str | Path | bool, environ: dict[str, str]) -> Path | None:
        path = learnt_path(VIDNOZ, choice, environ)
        return path and path.parent

    home = {"HOME": "/home/me"}
    assert parent("/mine", home | {"FACEWARP_CACHE_DIR": "/theirs"}) == Path("/mine")
    assert parent(True, home | {"FACEWARP_CACHE_DIR": "/theirs"}) == Path("/theirs")
    assert parent(True, home | {"FACEWARP_CACHE_DIR": ""}) is None
    assert parent(False, home | {"FACEWARP_CACHE_DIR": "/theirs"}) is None
    assert parent(True, home) == user_cache_dir(home)


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/facewarp-async"),
        ("linux", {"HOME": "/home/me", "XDG_CACHE_HOME": "/var/x"}, "/var/x/facewarp-async"),
        ("linux", {"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/facewarp-async"),
        ("darwin", {"HOME": "/Users/me", "XDG_CACHE_HOME": "/x"}, "/Users/me/Library/Caches/facewarp-async"),
        ("win32", {"LOCALAPPDATA": "/AppData/Local"}, "/AppData/Local/facewarp-async/Cache"),
    ],
)
def test_each_system_has_its_cache_directory(platform: str, environ: dict[str, str], expected: str) -> None:
    assert user_cache_dir(environ, platform=platform) == Path(expected)


def test_without_a_directory_nothing_is_kept() -> None:
    assert user_cache_dir({}, platform="win32") is None
    assert user_cache_dir({"HOME": "nowhere"}, platform="linux") is None


class _Here(aiohttp.abc.AbstractResolver):
    """Finds every host on this machine, so that a local service can pass for one elsewhere."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@pytest.mark.slow
async def test_a_client_keeps_what_it_learnt_when_it_is_closed(
    local: LocalService, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    media, face, cache = make_file("media.png"), make_file("face.png"), tmp_path / "cache"
    port = local.provider.base_url.rpartition(":")[2]
    provider = Provider("elsewhere", f"http://elsewhere.test:{port}", requests_per_second=None, typical_image_s=0.05)

    async def swap(client: FaceSwapClient, times: int) -> None:
        for _ in range(times):
            await client.swap_image(media, face)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=_Here())) as http:
        async with FaceSwapClient(provider, local.auth, http=http, cache_dir=cache) as client:
            await swap(client, 1)
            assert not cache.exists()
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(swap, client, 5)
        (path,) = cache.iterdir()
        kept = path.read_bytes()
        assert parse(kept, base_url=provider.base_url)[IMAGE].typical_s != 0.05
        async with (
            FaceSwapClient(provider, local.auth, http=http, cache_dir=False) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(6):
                group.start_soon(swap, client, 5)
        assert path.read_bytes() == kept


async def test_a_client_that_was_never_used_keeps_nothing(tmp_path: Path) -> None:
    async with FaceSwapClient(VIDNOZ, ApiKey("key"), cache_dir=tmp_path):
        pass
    assert names(tmp_path) == []
