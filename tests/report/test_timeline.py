"""Places on the time axis: in order, within it, without the pauses between runs."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.report import Fate, JobReport, Phase, RunReport, Span
from facewarp_async.report.timeline import HEIGHT, WIDTH, Axis, areas, most_at_once, strip

times = st.floats(0, 10_000)


def make_run(began_at: float, ended_at: float) -> RunReport:
    return RunReport(provider="p", began_at=began_at, ended_at=ended_at, ending=None, reason="", calls={}, created=0)


def make_job(*spans: Span) -> JobReport:
    return JobReport(media="a", before=None, after=None, what="", fate=Fate.DONE, spans=spans)


spans = st.builds(
    lambda phase, begin, length: Span(phase, begin, begin + length), st.sampled_from(Phase), times, st.floats(0, 500)
)
jobs = st.lists(spans, max_size=6).map(lambda found: make_job(*sorted(found, key=lambda span: span.begin)))
axes = st.lists(times, min_size=2, max_size=10).map(
    lambda ends: Axis([make_run(*pair) for pair in zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False)])
)


@given(axes, times, times)
def test_later_is_never_further_left_and_nothing_lies_outside(axis: Axis, one: float, other: float) -> None:
    first, second = axis.x(min(one, other)), axis.x(max(one, other))
    assert 0 <= first <= second <= WIDTH * (1 + 1e-9)


@given(axes, jobs)
def test_each_job_can_be_seen_on_the_axis(axis: Axis, job: JobReport) -> None:
    x, width = axis.place(job)
    assert (width >= 3) == bool(job.spans)
    assert -1e-6 <= x <= x + width <= WIDTH * (1 + 1e-9)


def test_pauses_between_runs_are_left_out() -> None:
    axis = Axis([make_run(0, 10), make_run(1000, 1030)])
    assert axis.elapsed_s == 40
    assert [axis.x(at) for at in (0, 5, 10, 500, 1000, 1030)] == [0, 125, 250, 250, 250, 1000]
    assert axis.joints() == [250]


@pytest.mark.parametrize(
    ("elapsed_s", "labels"),
    [
        (0.55, ["0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s"]),
        (95, ["0 s", "20 s", "40 s", "1 min", "1 min 20 s"]),
        (7300, ["0 s", "30 min", "1 h", "1 h 30 min", "2 h"]),
        (0, ["0 s"]),
    ],
)
def test_marks_are_few_and_at_round_times(elapsed_s: float, labels: list[str]) -> None:
    assert [tick.label for tick in Axis([make_run(0, elapsed_s)]).ticks()] == labels


@given(jobs)
def test_a_jobs_bars_follow_each_other_and_fill_its_strip(job: JobReport) -> None:
    bars = strip(job)
    for bar, following in pairwise(bars):
        assert bar.x + bar.width <= following.x + 1e-6
    if bars:
        assert bars[-1].x + bars[-1].width == pytest.approx(WIDTH, abs=0.05 * len(job.spans) + 1e-6)


@given(axes, st.lists(jobs, max_size=8))
def test_areas_are_as_high_as_can_be_and_no_higher(axis: Axis, found: list[JobReport]) -> None:
    heights = [float(y) for area in areas(found, axis) for y in re.findall(r"[ML][\d.e+-]+ ([\d.-]+)", area.path)]
    assert all(-0.1 <= height <= HEIGHT for height in heights)
    if heights:
        assert min(heights) <= 0.1


def test_an_area_of_a_moment_is_drawn_too() -> None:
    job = make_job(Span(Phase.CHECK, 0, 1e-308))
    (area,) = areas([job], Axis([make_run(0, 4)]))
    assert area.path.startswith("M0 0.0H")


def test_areas_show_how_many_jobs_were_at_what() -> None:
    """Two upload in the first half; one of them is processed in the second."""
    job, other = make_job(Span(Phase.UPLOAD, 0, 50), Span(Phase.SERVICE, 50, 100)), make_job(Span(Phase.UPLOAD, 0, 50))
    upload, service = areas([job, other], Axis([make_run(0, 100)]))
    assert (upload.phase, service.phase) == (Phase.UPLOAD, Phase.SERVICE)
    assert upload.path.startswith("M0 0.0H6.25")
    assert "L500 100.0H506.25" in upload.path
    assert "L500 50.0H506.25" in service.path


@given(st.lists(jobs, max_size=8))
def test_the_most_at_once_is_counted_as_it_was(found: list[JobReport]) -> None:
    begun = [span.begin for job in found for span in job.spans]
    all_spans = [span for job in found for span in job.spans]
    counted = max((sum(span.begin <= at < span.end for span in all_spans) for at in begun), default=0)
    assert most_at_once(found) == counted
