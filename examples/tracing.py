"""Spans and metrics for OpenTelemetry: the API calls by aiohttp's tracing, the jobs by the pipeline's events.

    python tracing.py holiday me.jpg swapped     # prints spans and metrics as JSON

Copy `trace_config` and `JobMetrics`, and give them the tracer and meter that your program has. Uploads and downloads go
over a session of the client's own, which is not traced: their URLs are secrets.
"""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import aiohttp
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from facewarp_async import Completed, Event, FaceSwapClient, Failed, JobEnded, SwapPipeline, jobs_from_folder


def trace_config(tracer: trace.Tracer) -> aiohttp.TraceConfig:
    """Return what makes a span of each request of an aiohttp session.

    A span has the method, the host, the path and the status. It has neither headers, where the token is, nor the query,
    nor the text of an exception.
    """

    async def begin(
        _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        context.span = tracer.start_span(
            f"{params.method} {params.url.path}",
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": params.method,
                "server.address": params.url.host or "",
                "url.path": params.url.path,
            },
        )

    async def end(
        _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        context.span.set_attribute("http.response.status_code", params.response.status)
        if params.response.status >= 400:
            context.span.set_status(StatusCode.ERROR)
        context.span.end()

    async def fail(
        _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        context.span.set_attribute("error.type", type(params.exception).__name__)
        context.span.set_status(StatusCode.ERROR)
        context.span.end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config


class JobMetrics:
    """Counts outcomes, and the seconds that jobs spend in each stage: give it to a pipeline as ``on_event``."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._outcomes = meter.create_counter("facewarp.jobs", description="Jobs that have ended, by how")
        self._seconds = meter.create_histogram("facewarp.stage.duration", unit="s", description="Time in a stage")

    def __call__(self, event: Event) -> None:
        """Be told of an event. Quick, as the event loop waits."""
        if not isinstance(event, JobEnded):
            return
        outcome = event.outcome
        attributes = {"outcome": type(outcome).__name__}
        if isinstance(outcome, Failed):
            attributes |= {"error.type": type(outcome.error).__name__, "stage": outcome.stage}
        self._outcomes.add(1, attributes)
        if isinstance(outcome, Completed | Failed):
            for stage, seconds in outcome.durations_s.items():
                self._seconds.record(seconds, {"stage": stage})


async def main(folder: str, face: str, out: str) -> None:
    """Swap a folder's faces, traced and measured."""
    tracer = trace.get_tracer("tracing-example")
    async with (
        # A connector without a limit: the client's own limits are enough, and its transfers use the connector too.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace_config(tracer)],
        ) as http,
        FaceSwapClient.from_env(http=http) as client,
        SwapPipeline(client, output_dir=out, on_event=JobMetrics(metrics.get_meter("tracing-example"))) as pipeline,
    ):
        with tracer.start_as_current_span("batch"):
            await pipeline.collect(jobs_from_folder(folder, face=face))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    traces, meters = TracerProvider(), MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())])
    traces.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(meters)
    try:
        asyncio.run(main(*sys.argv[1:]))
    finally:
        traces.shutdown()
        meters.shutdown()
