"""Credentials and signatures on a cluster: in no text that anybody may read."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import Completed, Event, Failed
from facewarp_async.report import read_report, write_page
from facewarp_async.server import InstantRunner, LocalService

if TYPE_CHECKING:
    from tests.distributed.conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_credentials_and_signatures_are_nowhere_to_be_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs, however much is logged, not in what Dask keeps, and not in a repr."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("distributed").setLevel(logging.DEBUG)
    async with bench.pipeline() as pipeline:
        settings = pipeline._settings()
        report = await pipeline.collect(bench.swaps(3))
        kept = await bench.dask.run_on_scheduler(_everything)  # type: ignore[no-untyped-call]  # Dask's
    outcome = report.outcomes[0]
    assert isinstance(outcome, Completed)
    signature = getattr(outcome.result, "url", "").partition("X-Amz-Signature=")[2][:64]
    assert len(signature) == 64
    for text in (caplog.text, repr(settings), kept):
        assert bench.service.auth.key not in text
        assert signature not in text
    assert "in/0.png" not in kept
    assert bench.service.auth.key.encode() in pickle.dumps(settings), "they do reach the workers"


async def test_a_signed_url_is_a_medium_and_its_signature_is_nowhere_to_be_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Another storage verifies it. One that was altered fails its job, in words that do not tell it either."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("distributed").setLevel(logging.DEBUG)
    events: list[Event] = []
    async with LocalService(runner=InstantRunner()) as store, FaceSwapClient(store.provider, store.auth) as owner:
        urls = [await owner.access_url((await owner.upload(bench.picture(name))).key) for name in ("media", "face")]
        signatures = [url.partition("X-Amz-Signature=")[2][:64] for url in urls]
        altered = urls[0].replace(signatures[0], "0123456789abcdef" * 4)
        jobs = [ImageSwap(urls[0], urls[1], name="good"), ImageSwap(altered, urls[1], name="bad")]
        async with bench.pipeline(on_event=events.append) as pipeline:
            outcomes = (await pipeline.collect(jobs)).outcomes
            kept = await bench.dask.run_on_scheduler(_everything)  # type: ignore[no-untyped-call]  # Dask's
    assert [type(outcome) for outcome in outcomes] == [Completed, Failed]
    assert (bench.folder / "out" / "good.png").read_bytes() == bench.picture("media").read_bytes()
    journal = (bench.folder / "batch.db").read_bytes().decode("latin-1")
    page = bench.folder / "page.html"
    await write_page(await read_report(bench.folder / "batch.db", output_dir=bench.folder / "out"), page)
    told = [str(outcome.error) for outcome in outcomes if isinstance(outcome, Failed)]
    for text in (caplog.text, journal, page.read_text(), kept, repr(outcomes), repr(events), *told):
        for secret in (*signatures, "0123456789abcdef" * 4):
            assert secret not in text


def _everything(dask_scheduler: Any) -> str:
    tasks = [repr((task.run_spec, pickle.dumps(task.run_spec))) for task in dask_scheduler.tasks.values()]
    plugins = [repr((plugin, getattr(plugin, "__dict__", None))) for plugin in dask_scheduler.plugins.values()]
    return repr([tasks, plugins, dask_scheduler.worker_plugins, list(dask_scheduler.get_events().items())])
