"""Pipelines that are used as they cannot be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from facewarp_async import ConfigurationError, SwapPipeline

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench

pytestmark = pytest.mark.anyio


async def test_a_pipeline_has_to_be_entered_and_only_once(bench: Bench) -> None:
    """Each mistake is told in words."""
    pipeline = bench.pipeline()
    with pytest.raises(ConfigurationError, match="enter the pipeline first"):
        pipeline.stream([])
    with pytest.raises(ConfigurationError, match="enter the pipeline first"):
        await pipeline.collect([])
    async with pipeline:
        with pytest.raises(ConfigurationError, match="entered once"):
            await pipeline.__aenter__()
        assert (await pipeline.collect(bench.swaps(1))).completed == 1
    with pytest.raises(ConfigurationError, match="entered once"):
        await pipeline.__aenter__()


async def test_a_choice_that_is_none_is_told_before_anything_is_paid_for(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"in_doubt is 'recreated': expected .hold. or .recreate."):
        SwapPipeline(bench.client, in_doubt="recreated")  # type: ignore[arg-type]  # a slip of the pen


async def test_a_pipeline_that_was_left_takes_no_more_jobs(bench: Bench) -> None:
    """It says so, as before it was entered."""
    async with bench.pipeline() as pipeline:
        pass
    with pytest.raises(ConfigurationError):
        pipeline.stream(bench.swaps(1))
    assert os.listdir(bench.folder)  # noqa: PTH208 - the files are there, only the pipeline is not
