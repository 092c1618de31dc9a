"""Faults: which calls they hit, and what a client then sees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.server import CREATES, EVERYWHERE, GET, PUT, Fault, FaultPlan, FaultRule
from facewarp_async.server.faults import PASSING, applies

if TYPE_CHECKING:
    from tests.server.conftest import Harness, Reply, Serve

SWAP, FACES, DETAIL = "/v1/task/face-swap", "/v1/task/get-face", "/v1/task/detail"
GRANT = "/v1/source/upload-url"


def hits(plan: FaultPlan, calls: int, call: str = PUT) -> list[int]:
    """Return which of some equal calls are hit, counted from 1."""
    return [number for number in range(1, calls + 1) if plan.draw(call, "/target")]


class TestRules:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [1, 2, 3, 4, 5, 6]),
            ({"nth": 2}, [2]),
            ({"nth": {1, 5}}, [1, 5]),
            ({"every": 3}, [3, 6]),
            ({"times": 2}, [1, 2]),
            ({"every": 2, "times": 1}, [2]),
            ({"probability": 0.0}, []),
            ({"probability": 1.0}, [1, 2, 3, 4, 5, 6]),
            ({"matching": lambda target: target == "/other"}, []),
        ],
    )
    def test_when_a_rule_hits(self, options: dict[str, Any], expected: list[int]) -> None:
        """Each condition selects the calls that it names."""
        plan = FaultPlan([FaultRule(Fault.RESET_BEFORE, PUT, **options)])
        assert hits(plan, 6) == expected

    def test_other_calls_are_not_counted(self) -> None:
        """A rule counts the calls that it is about."""
        plan = FaultPlan([FaultRule(Fault.RESET_BEFORE, PUT, nth=2)])
        assert [plan.draw(call, "/") is not None for call in (PUT, GET, GET, PUT)] == [False, False, False, True]

    def test_the_first_rule_that_hits_decides(self) -> None:
        """Rules are asked in their order; one that is added comes last; cleared ones are silent."""
        plan = FaultPlan([FaultRule(Fault.SLOW, PUT, nth=1)])
        plan.add(FaultRule(Fault.RESET_BEFORE, PUT))
        drawn = [plan.draw(PUT, "/") for _ in range(2)]
        assert [hit.fault for hit in drawn if hit] == [Fault.SLOW, Fault.RESET_BEFORE]
        plan.clear()
        assert plan.draw(PUT, "/") is None

    @given(st.sampled_from(sorted(EVERYWHERE)), st.integers(0, 2**32))
    def test_a_mix_plays_what_makes_sense(self, call: str, seed: int) -> None:
        """Only faults that apply to a call are drawn for it."""
        hit = FaultPlan.everywhere(1.0, seed).draw(call, "/")
        assert hit is not None
        assert applies(hit.fault, call)

    def test_a_mix_is_repeatable_and_as_likely_as_said(self) -> None:
        """The same seed draws the same faults; the share of calls that are hit is the probability."""

        def draw(seed: int) -> list[Fault | None]:
            plan = FaultPlan.everywhere(0.1, seed)
            drawn = [plan.draw(SWAP, "/") for _ in range(2000)]
            return [None if hit is None else hit.fault for hit in drawn]

        assert draw(7) == draw(7) != draw(8)
        assert 150 < 2000 - draw(7).count(None) < 250

    def test_every_call_can_go_wrong(self) -> None:
        """The mix has something for each call, and everything in it can happen to some call."""
        assert all(any(applies(fault, call) for fault in PASSING) for call in EVERYWHERE)
        assert all(any(applies(fault, call) for call in EVERYWHERE) for fault in Fault)


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan()


async def _swap_body(harness: Harness) -> dict[str, str]:
    return {"main_key": await harness.upload(), "target_key": await harness.upload()}


@pytest.mark.anyio
class TestAnswers:
    @pytest.mark.parametrize(("fault", "created"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1)])
    async def test_resets(self, serve: Serve, plan: FaultPlan, fault: Fault, created: int) -> None:
        """A reset gives no answer; whether the task was created is what tells the two apart."""
        async with serve(faults=plan) as harness:
            body = await _swap_body(harness)
            plan.add(FaultRule(fault, CREATES))
            with pytest.raises(aiohttp.ClientConnectionError):
                await harness.call(SWAP, body)
            assert len(harness.service.ledger.creations) == created
            assert harness.service.ledger.faults == {(SWAP, fault.name): 1}

    async def test_a_reset_is_a_tcp_reset(self, serve: Serve, plan: FaultPlan) -> None:
        """The connection does not end in order: the client's socket reports a reset."""
        plan.add(FaultRule(Fault.RESET_BEFORE, GRANT))
        async with serve(faults=plan) as harness:
            with pytest.raises(ConnectionResetError):
                await harness.raw(b"POST /v1/source/upload-url HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")

    @pytest.mark.parametrize("acts", [False, True])
    @pytest.mark.parametrize(("fault", "status"), [(Fault.SERVER_ERROR, 500), (Fault.BAD_GATEWAY, 502)])
    async def test_server_errors(self, serve: Serve, plan: FaultPlan, fault: Fault, status: int, acts: bool) -> None:
        """A 500 comes with an envelope, a 502 with a page, before or after the work is done."""
        async with serve(faults=plan) as harness:
            body = await _swap_body(harness)
            plan.add(FaultRule(fault, CREATES, acts=acts))
            reply = await harness.call(SWAP, body)
            assert reply.status == status
            assert (b'"code":500' in reply.body) is (status == 500)
            assert (b"<html>" in reply.body) is (status == 502)
            assert len(harness.service.ledger.creations) == acts

    async def test_half_a_document(self, serve: Serve, plan: FaultPlan) -> None:
        """The call has done its work, and the HTTP answer is whole, but its JSON is not."""
        async with serve(faults=plan) as harness:
            body = await _swap_body(harness)
            plan.add(FaultRule(Fault.HALF_DOCUMENT, SWAP))
            reply = await harness.call(SWAP, body)
            assert reply.status == 200
            assert reply.body.startswith(b'{"code":200')
            with pytest.raises(ValueError, match="column"):
                _ = reply.json
            assert len(harness.service.ledger.creations) == 1

    @pytest.mark.parametrize(("status", "after"), [(429, 1.5), (429, None), (200, None)])
    async def test_rate_limited(self, serve: Serve, plan: FaultPlan, status: int, after: float | None) -> None:
        """Code 802 with HTTP 429 or 200, with Retry-After where the rule says so; nothing was done."""
        plan.add(FaultRule(Fault.RATE_LIMITED, GRANT, http_status=status, retry_after_s=after, times=1))
        async with serve(faults=plan) as harness:
            reply = await harness.call(GRANT, {"file_name": "a"})
            assert (reply.status, reply.code) == (status, 802)
            assert reply.headers.get("Retry-After") == (f"{after:g}" if after else None)
            await harness.grant()

    async def test_slow_redirect_and_token(self, serve: Serve, plan: FaultPlan) -> None:
        """A slow answer is right at last; a redirect points elsewhere; an expired token is 401."""
        plan.add(FaultRule(Fault.SLOW, GRANT, delay_s=0.01, nth=1))
        plan.add(FaultRule(Fault.REDIRECT, GRANT, location="http://elsewhere.invalid/", nth=1))
        plan.add(FaultRule(Fault.EXPIRED_TOKEN, GRANT, nth=1))
        async with serve(faults=plan) as harness:
            await harness.grant()
            reply = await harness.call(GRANT, {"file_name": "a"})
            assert (reply.status, reply.headers["Location"]) == (302, "http://elsewhere.invalid/")
            reply = await harness.call(GRANT, {"file_name": "a"})
            assert (reply.status, reply.code) == (401, 401)
            assert [name for _, name in harness.service.ledger.faults] == ["SLOW", "REDIRECT", "EXPIRED_TOKEN"]

    async def test_wrong_types(self, serve: Serve, plan: FaultPlan) -> None:
        """Numbers come as strings; keys and URLs stay as they are."""
        async with serve(faults=plan) as harness:
            task = await harness.swap()
            right = await harness.finish(task)
            plan.add(FaultRule(Fault.WRONG_TYPES, DETAIL))
            reply = await harness.detail(task)
            assert (reply.json["code"], reply.data["id"], reply.data["status"]) == ("200", str(task), "0")
            assert reply.data["additional_data"]["size"] == str(right["size"])
            assert reply.data["additional_data"]["merge_key"] == right["merge_key"]

    @pytest.mark.parametrize("code", [604, 605])
    async def test_a_task_that_fails(self, serve: Serve, plan: FaultPlan, code: int) -> None:
        """The policy codes come from the plan alone: the task is created, and then fails."""
        plan.add(FaultRule(Fault.TASK_FAILS, SWAP, code=code, times=1))
        async with serve(faults=plan) as harness:
            task = await harness.swap()
            assert (await harness.detail(task)).code == code
            assert "policy" in (await harness.detail(task)).message
            await harness.finish(await harness.swap())

    async def test_refused_by_any_code(self, serve: Serve, plan: FaultPlan) -> None:
        """Any code can be played in place of an answer."""
        plan.add(FaultRule(Fault.REFUSED, FACES, code=605, message="no"))
        async with serve(faults=plan) as harness:
            reply = await harness.call(FACES, {"main_key": await harness.upload()})
            assert (reply.status, reply.code, reply.message) == (200, 605, "no")
            assert not harness.service.ledger.creations

    async def test_an_empty_result(self, serve: Serve, plan: FaultPlan) -> None:
        """A finished task is shown without result and message, then with."""
        async with serve(faults=plan) as harness:
            task = await harness.swap()
            await harness.service.settled()
            plan.add(FaultRule(Fault.EMPTY_RESULT, DETAIL, times=1))
            assert (await harness.detail(task)).data == {"id": task, "message": "", "status": 0, "additional_data": {}}
            await harness.finish(task)


@pytest.mark.anyio
class TestStorage:
    @pytest.mark.parametrize("size", [1, 1000, 600_000])
    async def test_a_cut_upload(self, serve: Serve, plan: FaultPlan, tmp_path: Path, size: int) -> None:
        """The connection is cut in the middle, and nothing of the body stays."""
        plan.add(FaultRule(Fault.CUT_PUT, times=1))
        async with serve(faults=plan, data_dir=tmp_path) as harness:
            key, url = await harness.grant()
            with pytest.raises(ConnectionResetError):
                await harness.raw_put(url, b"x" * size)
            assert (await harness.call(FACES, {"main_key": key})).code == 701
            assert not harness.service.ledger.uploads
            assert list((tmp_path / "parts").iterdir()) == []
            assert (await harness.request("PUT", url, data=b"x" * size)).status == 200

    @pytest.mark.parametrize("size", [1, 1000, 2_000_000])
    async def test_a_cut_download(self, serve: Serve, plan: FaultPlan, size: int) -> None:
        """Half of the body arrives under the whole one's length, then the connection ends; the rest can be fetched."""
        body = bytes(index % 251 for index in range(size))
        async with serve(faults=plan) as harness:
            _, url = await _stored(harness, body)
            plan.add(FaultRule(Fault.CUT_GET, times=1))
            host = harness.base.removeprefix("http://")
            head = f"GET {url.removeprefix(harness.base)} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            headers, _, half = (await harness.raw(head.encode())).partition(b"\r\n\r\n")
            assert f"Content-Length: {size}".encode() in headers
            assert half == body[: size // 2]
            reply = await harness.request("GET", url, headers={"Range": f"bytes={len(half)}-"})
            assert half + reply.body == body

    async def test_a_forgotten_upload(self, serve: Serve, plan: FaultPlan) -> None:
        """The upload is confirmed, and its key is unknown when it is used; a new upload stays."""
        plan.add(FaultRule(Fault.FORGET_UPLOAD, times=1))
        async with serve(faults=plan) as harness:
            key = await harness.upload()
            assert harness.service.ledger.uploads == {key: 1}
            reply = await harness.call(FACES, {"main_key": key})
            assert reply.code == 702
            assert key in reply.message
            assert (await harness.call(FACES, {"main_key": await harness.upload()})).code == 200

    async def test_expired_urls(self, serve: Serve, plan: FaultPlan) -> None:
        """Uploads and downloads can meet a 403 that says expired."""
        async with serve(faults=plan) as harness:
            key, get_url = await _stored(harness, b"x")
            _, put_url = await harness.grant()
            plan.add(FaultRule(Fault.EXPIRED_URL, {PUT, GET}, times=2))
            for reply in (await harness.request("PUT", put_url, data=b"x"), await harness.request("GET", get_url)):
                assert (reply.status, reply.xml_code) == (403, "AccessDenied")
            assert (await harness.request("GET", await harness.access(key))).status == 200

    @pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
    async def test_resets(self, serve: Serve, plan: FaultPlan, fault: Fault) -> None:
        """A lost answer to an upload leaves the object, a reset before it does not."""
        plan.add(FaultRule(fault, PUT))
        async with serve(faults=plan) as harness:
            key, url = await harness.grant()
            with pytest.raises(ConnectionResetError):
                await harness.raw_put(url, b"x")
            assert harness.service.ledger.uploads == ({key: 1} if fault is Fault.RESET_AFTER else {})

    async def test_a_gateway_in_front_of_the_storage(self, serve: Serve, plan: FaultPlan) -> None:
        """The storage can be behind a gateway that fails too."""
        plan.add(FaultRule(Fault.BAD_GATEWAY, PUT))
        async with serve(faults=plan) as harness:
            _, url = await harness.grant()
            assert (await harness.request("PUT", url, data=b"x")).status == 502


async def _stored(harness: Harness, body: bytes) -> tuple[str, str]:
    key = await harness.upload(body)
    return key, await harness.access(key)


@pytest.mark.anyio
async def test_a_stubborn_client_gets_through_everything(serve: Serve) -> None:
    """With faults on a third of all calls, a client that repeats every step still ends with its result."""
    async with serve(faults=FaultPlan.everywhere(0.33, seed=3)) as harness:

        async def insist(method: str, url: str, **options: Any) -> Reply:
            for _ in range(50):
                try:
                    reply = await harness.request(method, url, **options)
                except aiohttp.ClientError:
                    continue
                if reply.status in {200, 206}:
                    return reply
            raise AssertionError(f"{method} {url} never worked")

        seen: Counter[str] = Counter()
        for _ in range(10):
            seen.update(await _insist_on_a_swap(harness, insist))
        assert seen["done"] == 10
        assert len({name for _, name in harness.service.ledger.faults}) >= 10


async def _insist_on_a_swap(harness: Harness, insist: Any) -> list[str]:
    headers = {"Authorization": f"Bearer {harness.service.auth.key}"}

    async def call(method: str, path: str, **body: Any) -> Any:
        for _ in range(50):
            reply = await insist(method, path, headers=headers, **({"json": body} if body else {}))
            try:
                document = reply.json
            except ValueError:
                continue
            if int(document["code"]) == 200:
                return document["data"]
            if int(document["code"]) == 702:
                return None
        raise AssertionError(f"{path} never worked")

    while True:
        keys = []
        for _ in range(2):
            grant = await call("POST", GRANT, file_name="a.png")
            await insist("PUT", grant["upload_url"], data=b"\x89PNG\r\n\x1a\n")
            keys.append(grant["key"])
        created = await call("POST", SWAP, main_key=keys[0], target_key=keys[1])
        if created is not None:
            break
    await harness.service.settled()
    result: dict[str, Any] = {}
    while not result:
        result = (await call("GET", f"{DETAIL}?id={created['task_id']}"))["additional_data"]
    assert (await insist("GET", result["merge_url"])).body == b"\x89PNG\r\n\x1a\n"
    return ["done"]
