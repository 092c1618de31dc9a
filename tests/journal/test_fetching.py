"""A result that was paid for and not fetched is fetched in the next run, whatever the reason was."""

from __future__ import annotations

from typing import Any

import pytest

from facewarp_async.errors import BadRequestError, Stage
from facewarp_async.journal import JobState
from facewarp_async.pipeline import Failed
from facewarp_async.server import GET, Fault, FaultRule
from facewarp_async.wire.requests import ACCESS_URL_PATH

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py


async def test_a_result_whose_new_url_is_refused_is_no_failure_for_good(world: World) -> None:
    """Though the same refusal of a create would be one."""
    world.service.faults.add(FaultRule(Fault.EXPIRED_URL, GET))
    world.service.faults.add(FaultRule(Fault.REFUSED, ACCESS_URL_PATH, code=400))
    (first,) = (await world.run(world.jobs(1))).outcomes
    assert isinstance(first, Failed)
    assert (type(first.error), first.stage) == (BadRequestError, Stage.DOWNLOAD)
    assert await world.states() == {JobState.CREATED: 1}
    world.service.faults.clear()
    assert (await world.run(world.jobs(1))).completed == 1
    assert world.created == 1
