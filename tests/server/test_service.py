"""The service from start to stop, and again."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest
from yarl import URL

from facewarp_async.config import ApiKey
from facewarp_async.errors import ConfigurationError
from facewarp_async.server import InstantRunner, LocalService
from facewarp_async.server.state import State
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.server.conftest import Serve

pytestmark = pytest.mark.anyio


async def test_tells_where_it_is_and_who_may_call() -> None:
    """Provider and credentials can be handed to a client; it listens on loopback, on a free port."""
    async with LocalService(runner=InstantRunner(), api_key="k", client_id="i", client_secret="s") as service:
        assert service.provider.name == "local"
        assert service.provider.base_url.startswith("http://127.0.0.1:")
        assert service.provider.requests_per_second is None
        assert (service.provider.typical_image_s, service.provider.typical_video_s) == (0.3, 2.0)
        assert service.auth == ApiKey("k")
        assert (service.client_credentials.client_id, service.client_credentials.client_secret) == ("i", "s")


async def test_starts_and_stops_many_times() -> None:
    """Service after service in one process, each with another key."""
    keys = set()
    for _ in range(20):
        async with LocalService(runner=InstantRunner()) as service:
            keys.add(service.auth.key)
    assert len(keys) == 20


async def test_removes_its_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a data directory nothing stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with LocalService(runner=InstantRunner()):
        assert await anyio.to_thread.run_sync(os.listdir, tmp_path) != []
    assert await anyio.to_thread.run_sync(os.listdir, tmp_path) == []


async def test_an_error_of_the_callers_passes_through() -> None:
    """What is raised inside comes out as it is, and the service has stopped."""
    with pytest.raises(KeyError):
        async with LocalService(runner=InstantRunner()) as service:
            raise KeyError
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(service.provider.base_url)


async def test_stops_when_cancelled(serve: Serve) -> None:
    """A cancelled scope ends the service within a second, whatever its tasks do."""
    with anyio.fail_after(seconds(1)), anyio.CancelScope() as scope:
        async with serve(runner=InstantRunner(duration_s=3600)) as harness:
            await harness.swap()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_stops_with_connections_open(serve: Serve) -> None:
    """Connections that are idle, in the middle of an upload or half a request do not hold up the end."""
    async with serve() as harness:
        _, url = await harness.grant()
        target = url.removeprefix(harness.base)
        streams = [await anyio.connect_tcp("127.0.0.1", harness.port) for _ in range(3)]
        await streams[1].send(b"GET / HT")
        await streams[2].send(f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx".encode())
        began = anyio.current_time()
    assert anyio.current_time() - began < seconds(1.5)
    for stream in streams:
        await stream.aclose()


async def test_a_restart_keeps_everything(serve: Serve, tmp_path: Path, png: bytes) -> None:
    """Objects, results, task numbers, credits, key and URLs outlive the service."""
    async with serve(data_dir=tmp_path, credits=5) as harness:
        port, auth = harness.port, harness.service.auth
        client = harness.service.client_credentials
        login = {"client_id": client.client_id, "client_secret": client.client_secret}
        token = (await harness.request("POST", "/v1/oauth/token", json=login)).data["access_token"]
        task = await harness.swap(png)
        url = (await harness.finish(task))["merge_url"]
        detection = await harness.create("/v1/task/get-face", main_key=await harness.upload())
        faces = await harness.finish(detection)
        _, put_url = await harness.grant()
    async with serve(data_dir=tmp_path, credits=5, port=port) as harness:
        assert harness.service.auth == auth
        assert harness.service.credits == 3
        assert (await harness.request("GET", url)).body == png
        assert (await harness.request("PUT", put_url, data=png)).status == 200
        assert (await harness.call(f"/v1/task/detail?id={task}", token=token)).data["status"] == 0
        pair = {"target_part_key": faces[0]["avatar_part_key"], "avatar_part_key": await harness.upload()}
        again = await harness.create("/v1/task/multiple-face-swap", avatar_key=[pair], get_face_id=detection, is_hd=2)
        assert again == detection + 1
        await harness.finish(again)


async def test_open_tasks_are_worked_on_after_a_restart(serve: Serve, tmp_path: Path) -> None:
    """What was waiting or processing when the service stopped is finished by the next."""
    async with serve(data_dir=tmp_path, runner=InstantRunner(duration_s=3600), workers=1) as harness:
        tasks = [await harness.swap() for _ in range(3)]
    async with serve(data_dir=tmp_path) as harness:
        for task in tasks:
            await harness.finish(task)


async def test_survives_kill_9(tmp_path: Path, serve: Serve) -> None:
    """A service that is killed leaves a directory from which the next one finishes the tasks it had accepted."""
    script = (
        "import asyncio, sys\n"
        "from facewarp_async.server import *\n"
        "async def main():\n"
        "    runner = InstantRunner(duration_s=3600)\n"
        "    async with LocalService(data_dir=sys.argv[1], api_key='k', runner=runner) as service:\n"
        "        print(service.provider.base_url, flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    async with await anyio.open_process([sys.executable, "-c", script, str(tmp_path)], stdout=PIPE) as process:
        assert process.stdout is not None
        base = (await process.stdout.receive()).decode().strip()
        headers = {"Authorization": "Bearer k"}
        async with aiohttp.ClientSession(base, headers=headers) as http:
            async with http.post("/v1/source/upload-url", json={"file_name": "a.png"}) as reply:
                grant = (await reply.json())["data"]
            async with (
                aiohttp.ClientSession() as bare,
                bare.put(URL(grant["upload_url"], encoded=True), data=b"\x89PNG\r\n\x1a\n") as put,
            ):
                assert put.status == 200
            async with http.post("/v1/task/get-face", json={"main_key": grant["key"]}) as reply:
                task = (await reply.json())["data"]["task_id"]
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with serve(data_dir=tmp_path) as harness:
        assert len(await harness.finish(task)) == 2


async def test_a_service_that_begins_anew_does_not_give_numbers_again(serve: Serve) -> None:
    """A caller that remembers tasks of an earlier service at the same address does not meet another's."""
    numbers = []
    for _ in range(2):
        async with serve() as harness:
            numbers.append(await harness.swap())
    assert numbers[0] != numbers[1]
    assert min(numbers) > 100_000_000


async def test_leftovers_of_a_crash_are_removed(serve: Serve, tmp_path: Path, png: bytes) -> None:
    """Half bodies and bodies that no key refers to go at the start; a key whose body is gone is unknown."""
    async with serve(data_dir=tmp_path) as harness:
        kept, lost = await harness.upload(png), await harness.upload(png)
        objects = harness.service._gate.api.state.objects
        blobs = {key: objects[key].blob for key in (kept, lost)}
        store = harness.service._gate.storage.store
    blob = blobs[lost]
    assert blob is not None
    store.path(blob.name).unlink()
    orphans = [tmp_path / "parts" / "half", tmp_path / "blobs" / "ab" / "abandoned"]
    for path in orphans:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    async with serve(data_dir=tmp_path) as harness:
        assert (await harness.request("GET", await harness.access(kept))).body == png
        assert (await harness.call("/v1/task/get-face", {"main_key": lost})).code == 702
    assert not any(path.exists() for path in orphans)


async def test_old_objects_and_tasks_are_deleted(serve: Serve, tmp_path: Path) -> None:
    """After seven days a start finds nothing left of uploads, results and tasks, but gives new numbers."""
    now = datetime(2024, 8, 1, tzinfo=UTC)
    async with serve(data_dir=tmp_path, clock=lambda: now) as harness:
        task = await harness.swap()
        await harness.finish(task)
        now += timedelta(days=6)
        key = await harness.upload()
    now += timedelta(days=2)
    async with serve(data_dir=tmp_path, clock=lambda: now) as harness:
        assert (await harness.detail(task)).code == 400
        assert harness.service._gate.api.state.objects.keys() == {key}
    async with serve(data_dir=tmp_path, clock=lambda: now) as harness:
        detection = await harness.create("/v1/task/get-face", main_key=key)
        assert detection == task + 1
        await harness.finish(detection)
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 3


async def test_two_services_cannot_share_a_directory(serve: Serve, tmp_path: Path) -> None:
    """The second is refused with a clear message, and the first goes on."""
    async with serve(data_dir=tmp_path) as harness:
        with pytest.raises(ConfigurationError, match="another service uses it"):
            async with serve(data_dir=tmp_path):
                pass
        await harness.finish(await harness.swap())


async def test_a_foreign_file_is_no_state(serve: Serve, tmp_path: Path) -> None:
    """A directory whose database is none is refused, not overwritten."""
    (tmp_path / "service.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        async with serve(data_dir=tmp_path):
            pass


async def test_a_port_in_use_is_refused(serve: Serve) -> None:
    """Whoever asks for a port that is taken is told which."""
    async with serve() as harness:
        with pytest.raises(ConfigurationError, match=f"port {harness.port}"):
            async with serve(port=harness.port):
                pass


@pytest.mark.parametrize("options", [{"workers": 0}, {"upload_expiry_s": 0}, {"upload_expiry_s": 10**6}])
def test_impossible_options(options: dict[str, int]) -> None:
    """Options that cannot work are refused before anything is started."""
    with pytest.raises(ConfigurationError):
        LocalService(**options)  # type: ignore[arg-type]  # whichever it is


async def test_another_host(serve: Serve) -> None:
    """Bound to all addresses, it is still reached over loopback; presigned URLs lead back the way the call came."""
    async with serve(host="0.0.0.0") as harness:
        assert harness.base.startswith("http://127.0.0.1:")
        local = f"http://localhost:{harness.port}"
        headers = {"Authorization": f"Bearer {harness.service.auth.key}"}
        reply = await harness.request("POST", f"{local}/v1/source/upload-url", json={"file_name": "a"}, headers=headers)
        assert reply.data["upload_url"].startswith(local)
        assert (await harness.request("PUT", reply.data["upload_url"], data=b"x")).status == 200
        answer = await harness.raw(
            b"POST /v1/source/upload-url HTTP/1.1\r\nHost: a/b@c\r\nContent-Length: 17\r\nConnection: close\r\n"
            b"Authorization: Bearer " + harness.service.auth.key.encode() + b'\r\n\r\n{"file_name":"a"}'
        )
        assert b'"code":400' in answer


async def test_a_write_that_fails_is_a_500_and_costs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the state cannot be kept, the task is not created: no number is given out and no credit taken."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    async with serve(credits=1) as harness:
        key = await harness.upload()
        with monkeypatch.context() as patch:
            patch.setattr(State, "_commit", fail)
            reply = await harness.call("/v1/task/get-face", {"main_key": key})
            assert (reply.status, reply.code) == (500, 500)
            assert "disk" not in reply.message
        assert harness.service.credits == 1
        assert harness.service._gate.api.state.tasks == {}
        assert "disk full" in caplog.text


async def test_others_can_look_into_nothing_that_it_keeps(serve: Serve, tmp_path: Path) -> None:
    """Also where the folder was there before and is open to all: it holds secrets and people's faces."""
    await anyio.Path(tmp_path).chmod(0o755)
    async with serve(data_dir=tmp_path) as harness:
        await harness.upload()
        modes = {path.name: (await path.stat()).st_mode & 0o077 async for path in anyio.Path(tmp_path).iterdir()}
    assert {"service.db", "service.db-wal", "blobs", "parts"} <= modes.keys()
    assert set(modes.values()) == {0}


async def test_what_is_no_http_leaves_no_bytes_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A token on a line that is no header, and a signature in a line that is no request."""
    caplog.set_level(logging.DEBUG)
    async with serve() as harness:
        token = harness.service.auth.key.encode()
        for line in (b"GET /storage/x?X-Amz-Signature=%s HTTP/9\r\n", b"GET / HTTP/1.1\r\nAuthorization Bearer %s\r\n"):
            assert b" 400 " in await harness.raw(line % token + b"Host: x\r\n\r\n")
    assert "a request that is no HTTP was refused" in caplog.text
    assert harness.service.auth.key not in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


async def test_the_log_has_requests_and_no_secrets(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """At debug each request is logged, without tokens and signatures."""
    caplog.set_level(logging.DEBUG, "facewarp_async.server")
    async with serve() as harness:
        _, url = await harness.grant()
        await harness.request("PUT", url, data=b"x")
        secrets = [harness.service.auth.key, url.partition("X-Amz-Signature=")[2]]
    lines = [record.getMessage() for record in caplog.records if record.name == "facewarp_async.server"]
    assert any(line.startswith("POST /v1/source/upload-url: HTTP 200") for line in lines)
    assert any(line.startswith("PUT /storage/facewarp/temporary/") for line in lines)
    assert not any(secret in line for secret in secrets for line in lines)


async def test_200_uploads_at_once(serve: Serve, png: bytes) -> None:
    """Many uploads at once all arrive, each under its own key."""
    async with serve() as harness:
        bodies = {index: png + b"%d" % index * 1000 for index in range(200)}
        keys: dict[int, str] = {}

        async def upload(index: int) -> None:
            keys[index] = await harness.upload(bodies[index])

        async with anyio.create_task_group() as group:
            for index in bodies:
                group.start_soon(upload, index)
        assert len(set(keys.values())) == 200
        for index in (0, 99, 199):
            assert (await harness.request("GET", await harness.access(keys[index]))).body == bodies[index]
