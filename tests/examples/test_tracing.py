"""The example for OpenTelemetry makes spans and metrics, without a secret in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.server import CREATES, Fault, FaultRule, LocalService

pytestmark = pytest.mark.anyio


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = [
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]
    return list(metric.data.data_points)


async def test_calls_become_spans_and_outcomes_metrics_without_a_secret(
    example: Callable[[str], ModuleType],
    local: LocalService,
    make_client: Callable[..., Any],
    make_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    tracing = example("tracing.py")
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    face = make_file("me.png")
    jobs = [ImageSwap(make_file(name), face) for name in ("a.png", "b.png", "c.png")]
    local.faults.add(FaultRule(Fault.RESET_AFTER, CREATES, nth=2))
    config = tracing.trace_config(provider.get_tracer("test"))
    on_event = tracing.JobMetrics(meters.get_meter("test"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trace_configs=[config]) as http,
        make_client(local.provider, local.auth, http=http) as client,
        SwapPipeline(client, output_dir=tmp_path / "out", on_event=on_event) as pipeline,
    ):
        await pipeline.collect(jobs)

    spans = exporter.get_finished_spans()
    asked = {path: count for path, count in local.ledger.calls.items() if path.startswith("/")}
    assert {span.attributes["url.path"] for span in spans if span.attributes} == set(asked)
    assert len(spans) == sum(asked.values())
    (lost,) = [span for span in spans if span.attributes and "error.type" in span.attributes]
    assert (lost.name, lost.status.status_code) == ("POST /v1/task/face-swap", StatusCode.ERROR)
    told = "".join(span.to_json() for span in spans)
    assert local.auth.key not in told
    assert "X-Amz" not in told
    assert local.ledger.calls["put"] == 4
    assert {(point.attributes["outcome"], point.value) for point in points(reader, "facewarp.jobs")} == {
        ("Completed", 2),
        ("Failed", 1),
    }
    stages = {point.attributes["stage"]: point.count for point in points(reader, "facewarp.stage.duration")}
    assert stages == {"check": 3, "upload": 3, "create": 3, "wait": 2, "download": 2}
    meters.shutdown()


@pytest.mark.slow
async def test_the_program_prints_spans_and_metrics(
    in_environment: Callable[[LocalService], None],
    local: LocalService,
    make_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    in_environment(local)
    media = make_file("in/a.png")
    program = Path(__file__).parents[2] / "examples" / "tracing.py"
    done = await anyio.run_process([sys.executable, program, media.parent, make_file("me.png"), tmp_path / "out"])
    assert (tmp_path / "out" / "a.png").read_bytes() == media.read_bytes()
    assert b'"name": "POST /v1/task/face-swap"' in done.stdout
    assert b'"facewarp.jobs"' in done.stdout
    assert local.auth.key.encode() not in done.stdout
