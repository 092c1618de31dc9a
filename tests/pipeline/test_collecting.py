"""Python's collector of garbage, while very many tasks are waited for."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.pipeline.collecting import MANY, collecting_old_seldom


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.mark.anyio
@pytest.mark.parametrize(("in_flight", "seldom"), [(MANY, False), (MANY + 1, True)])
async def test_a_pipeline_of_very_many_tasks_has_old_objects_looked_at_seldom(in_flight: int, seldom: bool) -> None:
    before = gc.get_threshold()
    async with (
        FaceSwapClient(Provider("none", "http://127.0.0.1:9"), ApiKey("key"), cache_dir=False) as client,
        SwapPipeline(client, limits=Limits(in_flight=in_flight)) as pipeline,
    ):
        assert (gc.get_threshold() != before) == seldom
        assert gc.get_threshold()[:2] == before[:2], "the young as before"
    assert gc.get_threshold() == before, "while there still is a pipeline"
    del pipeline


def test_the_last_of_several_pipelines_puts_it_back() -> None:
    before, first, second = gc.get_threshold(), collecting_old_seldom(), collecting_old_seldom()
    first.__enter__()
    meanwhile = gc.get_threshold()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == meanwhile != before
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_what_a_program_sets_is_left() -> None:
    with collecting_old_seldom():
        gc.set_threshold(50_000, 20, 30)
    assert gc.get_threshold() == (50_000, 20, 30)
    gc.set_threshold(700, 10, 100_000)
    with collecting_old_seldom():
        assert gc.get_threshold() == (700, 10, 100_000), "already more seldom"
