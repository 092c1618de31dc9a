"""The page's answers: who gets in, what is told, what never is."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from facewarp_async.server import EVERYWHERE, PUT, Fault, FaultRule, InstantRunner
from facewarp_async.server.page.door import Door
from facewarp_async.server.page.feed import MOST_TASKS
from facewarp_async.server.page.seen import MOST_REQUESTS
from facewarp_async.testing import jpeg, mp4

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractAsyncContextManager[Any]]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def cookie_of(harness: Any) -> dict[str, str]:
    """Open the link; return the header that a browser sends from then on."""
    reply = await harness.request("GET", harness.service.page_url, headers=BROWSER)
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    return {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}


@pytest.fixture
async def cookie(harness: Any) -> dict[str, str]:
    return await cookie_of(harness)


async def feed(harness: Any, cookie: dict[str, str], after: int = 0) -> Any:
    reply = await harness.request("GET", f"/page/feed?after={after}", headers=cookie)
    assert reply.status == 200, reply
    return reply.json


# Who gets in


async def test_programs_still_get_json(harness: Any) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert (await harness.request("GET", "/", headers=headers)).data["name"] == "facewarp-async local service"


async def test_a_browser_without_the_link_is_told_how_to_get_in(harness: Any) -> None:
    reply = await harness.request("GET", "/", headers=BROWSER)
    assert reply.status == 403
    assert b"facewarp serve" in reply.body
    assert b"page.js" not in reply.body


async def test_the_link_sets_a_cookie_that_no_script_and_no_other_site_can_use(harness: Any) -> None:
    reply = await harness.request("GET", harness.service.page_url)
    assert reply.status == 303
    attributes = {each.strip().lower() for each in reply.headers["Set-Cookie"].split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/"}
    assert harness.service.page_url.partition("token=")[2] not in reply.headers["Set-Cookie"]


async def test_the_page_has_a_strict_policy(harness: Any, cookie: dict[str, str]) -> None:
    reply = await harness.request("GET", "/", headers=BROWSER | cookie)
    assert reply.status == 200
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (reply.headers["Referrer-Policy"], reply.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert not re.search(rb"https?:|style=|onclick|<script>", reply.body)


@pytest.mark.parametrize("token", ["", "x", "%C3%A9", "{right}0", "{right}&x=1"])
async def test_a_wrong_token_opens_nothing(harness: Any, token: str) -> None:
    right = harness.service.page_url.partition("token=")[2]
    reply = await harness.request("GET", "/?token=" + token.replace("{right}", right), headers=BROWSER)
    assert reply.status == 403
    assert "Set-Cookie" not in reply.headers


async def paths_of(harness: Any) -> list[str]:
    """What there is to be seen only with the cookie."""
    task = await harness.swap(jpeg())
    await harness.finish(task)
    return ["/page/feed", *(f"/page/media/{task}/{what}/0" for what in ("before", "face", "after", "small"))]


async def test_nothing_is_to_be_seen_without_the_cookie(harness: Any, cookie: dict[str, str]) -> None:
    """Neither the token itself nor what opens the API does instead."""
    name, _, value = cookie["Cookie"].partition("=")
    token, key = harness.service.page_url.partition("token=")[2], harness.service.auth.key
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"Bearer {token}"},
        {"Cookie": f"{name}={token}"},
        {"Cookie": f"{name}={value[:-1]}"},
        {"Cookie": f"other={value}"},
        {"Cookie": name},
    ]
    for path in await paths_of(harness):
        for headers in wrong:
            assert (await harness.request("GET", path, headers=headers)).status == 403, (path, headers)
            assert (await harness.request("GET", f"{path}?token={token}", headers=headers)).status == 403
        assert (await harness.request("GET", path, headers=cookie)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", "", "["]
)
async def test_a_name_that_was_made_to_point_here_opens_nothing(
    harness: Any, cookie: dict[str, str], host: str
) -> None:
    """DNS rebinding: the browser takes another site's page for the service's own."""
    for path in ("/", *await paths_of(harness)):
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n"
        answer = await harness.raw(f"{request}Cookie: {cookie['Cookie']}\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400")), answer
    token = harness.service.page_url.partition("/?")[2]
    answer = await harness.raw(f"GET /?{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert b"Set-Cookie" not in answer


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8600", True),
        ("localhost:8600", True),
        ("LOCALHOST", True),
        ("[::1]:8600", True),
        ("192.168.1.7:8600", True),
        ("studio.lan:8600", True),
        ("other.lan:8600", False),
        ("a@localhost@evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_which_hosts_are_known(host: str, known: bool) -> None:
    assert Door("token", "studio.lan").knows_host(host) is known


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_page_of_another_site_sees_nothing(harness: Any, cookie: dict[str, str], site: str) -> None:
    """Also one on another port of this machine, whose requests have the cookie."""
    for path in await paths_of(harness):
        headers = cookie | {"Sec-Fetch-Site": site}
        assert (await harness.request("GET", path, headers=headers)).status == 403
        assert (await harness.request("GET", path, headers=cookie | {"Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed_through_the_page(harness: Any, cookie: dict[str, str], method: str) -> None:
    for path in await paths_of(harness):
        assert (await harness.request(method, path, headers=cookie)).status == 405


async def test_a_restart_knows_the_link_and_another_service_does_not(serve: Serve, tmp_path: Path) -> None:
    links, cookies = [], []
    for folder in ("one", "one", "other"):
        async with serve(data_dir=tmp_path / folder) as harness:
            links.append(harness.service.page_url.partition("?")[2])
            cookies.append(await cookie_of(harness))
    assert links[0] == links[1] != links[2]
    assert cookies[0] == cookies[1]
    names = {each["Cookie"].partition("=")[0] for each in cookies}
    assert len(names) == 2  # or two services on one machine would take their cookies away from each other


# What is told


async def test_the_feed_tells_tasks_and_requests(serve: Serve) -> None:
    async with serve(credits=5, requests_per_second=100.0) as harness:
        cookie = await cookie_of(harness)
        main, target = await harness.upload(jpeg("a"), "team.jpg"), await harness.upload(jpeg("b"), "me.jpg")
        task = await harness.create("/v1/task/face-swap", main_key=main, target_key=target)
        await harness.finish(task)
        harness.service.faults.add(FaultRule(Fault.TASK_FAILS, "/v1/task/get-face", code=602))
        failed = await harness.create("/v1/task/get-face", main_key=main)
        news = await feed(harness, cookie)
    assert (news["credits"], news["requests_per_second"]) == (3, 100.0)
    assert news["counts"] == {"waiting": 0, "processing": 0, "finished": 1, "failed": 1}
    latest, first = news["tasks"]
    assert (latest["id"], latest["progress"], latest["code"]) == (failed, "failed", 602)
    assert latest["message"] == "No face detected"
    assert (first["id"], first["kind"], first["progress"]) == (task, "IMAGE_SWAP", "finished")
    assert first["media"] == {"name": "team.jpg", "type": "JPEG", "video": False, "size": len(jpeg("a"))}
    assert first["faces"] == ["me.jpg"]
    assert first["created"] <= first["ended"] <= news["now"]
    asked = [(each["method"], each["file"], each["status"], each["code"], each["fault"]) for each in news["requests"]]
    assert asked[:3] == [
        ("POST", "", 200, "200", ""),
        ("PUT", "team.jpg", 200, "", ""),
        ("POST", "", 200, "200", ""),
    ]
    assert asked[-1] == ("POST", "", 200, "200", "TASK_FAILS")
    assert [each["number"] for each in news["requests"]] == list(range(1, len(asked) + 1))


async def test_only_news_are_told(harness: Any, cookie: dict[str, str]) -> None:
    await harness.upload()
    last = (await feed(harness, cookie))["last"]
    assert last == 2
    assert (await feed(harness, cookie, last))["requests"] == []
    await harness.upload()
    assert [each["number"] for each in (await feed(harness, cookie, last))["requests"]] == [3, 4]
    assert len((await feed(harness, cookie, 999))["requests"]) == 4  # another service's number


async def test_refusals_and_faults_are_told_as_the_client_saw_them(harness: Any, cookie: dict[str, str]) -> None:
    await harness.call("/v1/task/get-face", {"main_key": "none"})
    await harness.call("/v1/task/get-face", {"main_key": "none"}, token="wrong")
    await harness.request("GET", "/storage/facewarp/a.png")
    harness.service.faults.add(FaultRule(Fault.RATE_LIMITED, "/v1/task/get-face", times=1))
    await harness.call("/v1/task/get-face", {"main_key": "none"})
    harness.service.faults.add(FaultRule(Fault.RESET_AFTER, "/v1/task/get-face", times=1))
    with pytest.raises(aiohttp.ClientError):
        await harness.call("/v1/task/get-face", {"main_key": "none"})
    told = [(each["status"], each["code"], each["fault"]) for each in (await feed(harness, cookie))["requests"]]
    assert told == [
        (200, "702", ""),
        (401, "401", ""),
        (403, "AccessDenied", ""),
        (429, "802", "RATE_LIMITED"),
        (0, "", "RESET_AFTER"),
    ]


async def test_no_secret_is_told(harness: Any, cookie: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Not in the feed, not on the page, not in the log."""
    caplog.set_level(logging.DEBUG)
    client = harness.service.client_credentials
    login = {"client_id": client.client_id, "client_secret": client.client_secret}
    token = (await harness.request("POST", "/v1/oauth/token", json=login)).data["access_token"]
    key, url = await harness.grant()
    await harness.request("PUT", url, data=jpeg())
    got = await harness.access(key)
    await harness.request("GET", got)
    await harness.request("GET", f"/v1/task/detail?id=1&access_token={token}")
    for secret in (harness.service.auth.key, harness.service.page_url.partition("token=")[2]):
        await harness.request("GET", f"/nowhere/{secret}?key={secret}")
    await harness.request("GET", harness.service.page_url)
    said = json.dumps(await feed(harness, cookie)) + caplog.text
    said += (await harness.request("GET", "/", headers=BROWSER | cookie)).body.decode()
    secrets = [
        harness.service.auth.key,
        client.client_secret,
        token,
        harness.service.page_url.partition("token=")[2],
        cookie["Cookie"].partition("=")[2],
        url.partition("X-Amz-Signature=")[2][:64],
        got.partition("X-Amz-Signature=")[2][:64],
    ]
    assert "/storage/facewarp/" in said
    assert "X-Amz-" not in json.dumps(await feed(harness, cookie))
    assert [secret for secret in secrets if secret in said] == []


async def test_however_much_there_is_an_answer_has_its_bounds(harness: Any, cookie: dict[str, str]) -> None:
    main = await harness.upload(jpeg(), "\u05d0" * 1000 + ".jpg")
    face = await harness.upload(jpeg("face"), "<b>" * 300 + ".jpg")
    for _ in range(MOST_TASKS + 5):
        await harness.create("/v1/task/face-swap", main_key=main, target_key=face)
    for _ in range(MOST_REQUESTS):
        await harness.request("GET", "/" + "x" * 3000)
    news = await feed(harness, cookie)
    assert (len(news["tasks"]), len(news["requests"])) == (MOST_TASKS, MOST_REQUESTS)
    assert sum(news["counts"].values()) == MOST_TASKS + 5
    assert [task["id"] for task in news["tasks"]] == sorted((task["id"] for task in news["tasks"]), reverse=True)
    reply = await harness.request("GET", "/page/feed", headers=cookie)
    assert len(reply.body) < 250_000


async def test_counts_follow_tasks_to_their_end_and_over_a_restart(serve: Serve, tmp_path: Path) -> None:
    async with serve(data_dir=tmp_path, runner=InstantRunner(duration_s=3600), workers=1) as harness:
        for _ in range(3):
            await harness.swap()
        counts = (await feed(harness, await cookie_of(harness)))["counts"]
        assert counts == {"waiting": 2, "processing": 1, "finished": 0, "failed": 0}
    async with serve(data_dir=tmp_path) as harness:
        await harness.service.settled()
        counts = (await feed(harness, await cookie_of(harness)))["counts"]
        assert counts == {"waiting": 0, "processing": 0, "finished": 3, "failed": 0}


async def test_the_page_is_neither_counted_nor_disturbed(harness: Any, cookie: dict[str, str]) -> None:
    """What a test says of its requests holds whether somebody watches or not."""
    harness.service.faults.add(FaultRule(Fault.SERVER_ERROR, EVERYWHERE | {"other"}))
    before = harness.service.ledger.copy()
    assert (await feed(harness, cookie))["requests"] == []
    assert harness.service.ledger == before


# Files


async def test_files_are_what_their_bytes_are_whatever_their_sender_called_them(
    harness: Any, cookie: dict[str, str]
) -> None:
    key, url = await harness.grant("page.html")
    body = jpeg("<script>alert(1)</script>")
    await harness.request("PUT", url, data=body, headers={"Content-Type": "text/html"})
    task = await harness.create("/v1/task/face-swap", main_key=key, target_key=key)
    await harness.finish(task)
    reply = await harness.request("GET", f"/page/media/{task}/before/0", headers=cookie)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, body, "image/jpeg")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_clips_can_be_sought_in(harness: Any, cookie: dict[str, str]) -> None:
    clip = mp4()
    main, face = await harness.upload(clip, "a.mp4"), await harness.upload(jpeg())
    task = await harness.create("/v1/task/video-face-swap", main_key=main, target_key=face)
    await harness.finish(task)
    for what in ("before", "after"):
        path = f"/page/media/{task}/{what}/0"
        reply = await harness.request("GET", path, headers=cookie | {"Range": "bytes=10-19"})
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (206, clip[10:20], "video/mp4")
        assert (await harness.request("GET", path, headers=cookie | {"Range": "bytes=9999-"})).status == 416
    assert (await harness.request("GET", f"/page/media/{task}/small/0", headers=cookie)).body == jpeg()


async def test_every_file_of_a_task_has_its_place(harness: Any, cookie: dict[str, str]) -> None:
    media, one, two = [await harness.upload(jpeg(name)) for name in ("media", "one", "two")]
    detection = await harness.create("/v1/task/get-face", main_key=media)
    crops = [face["avatar_part_key"] for face in await harness.finish(detection)]
    pairs = [{"target_part_key": crop, "avatar_part_key": face} for crop, face in zip(crops, (one, two), strict=True)]
    task = await harness.create("/v1/task/multiple-face-swap", avatar_key=pairs, get_face_id=detection, is_hd=1)
    await harness.finish(task)

    async def body(task_id: int, what: str, index: int) -> bytes | None:
        reply = await harness.request("GET", f"/page/media/{task_id}/{what}/{index}", headers=cookie)
        return reply.body if reply.status == 200 else None

    assert await body(task, "before", 0) == jpeg("media")
    assert [await body(task, "face", index) for index in range(3)] == [jpeg("one"), jpeg("two"), None]
    assert [await body(task, "after", index) is not None for index in range(2)] == [True, False]
    assert [await body(detection, "after", index) is not None for index in range(3)] == [True, True, False]
    assert await body(detection, "face", 0) is None


@pytest.mark.parametrize(
    "path", ["1/before/0", "{task}/other/0", "{task}/before/-1", "{task}/before/0/x", "../feed", ""]
)
async def test_other_files_are_not_to_be_had(harness: Any, cookie: dict[str, str], path: str) -> None:
    task = await harness.swap()
    reply = await harness.request("GET", "/page/media/" + path.replace("{task}", str(task)), headers=cookie)
    assert reply.status == 404


@pytest.mark.parametrize("name", ["page.html", "../page.py", "%2e%2e/page.py", "..%2fdoor.py", "static/page.js"])
async def test_there_are_no_files_but_the_pages_own(harness: Any, cookie: dict[str, str], name: str) -> None:
    reply = await harness.request("GET", f"/page/{name}", headers=cookie)
    assert (reply.status, reply.body) == (404, b"There is no such file.\n")


async def test_a_file_that_is_gone_is_told_as_such(harness: Any, cookie: dict[str, str]) -> None:
    main = await harness.upload(jpeg())
    task = await harness.create("/v1/task/get-face", main_key=main)
    await harness.finish(task)
    await harness.service.forget(main)
    assert (await harness.request("GET", f"/page/media/{task}/before/0", headers=cookie)).status == 404
    assert (await feed(harness, cookie))["tasks"][0]["media"] == {"name": "", "type": None, "video": False, "size": 0}


async def test_a_played_cut_of_an_upload_is_told(harness: Any, cookie: dict[str, str]) -> None:
    _, url = await harness.grant("big.jpg")
    harness.service.faults.add(FaultRule(Fault.CUT_PUT, PUT))
    with pytest.raises(ConnectionError):
        await harness.raw_put(url, jpeg() * 3000)
    last = (await feed(harness, cookie))["requests"][-1]
    assert (last["file"], last["status"], last["fault"]) == ("big.jpg", 0, "CUT_PUT")
    assert URL(url).query["X-Amz-Signature"] not in str(last)
