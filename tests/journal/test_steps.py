"""When a job came to what, as text: what is written is read, and it never grows for ever."""

from __future__ import annotations

from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.errors import Stage
from facewarp_async.journal import Step, TimedStep, parse_steps
from facewarp_async.journal.steps import add_step, add_steps

times = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
steps = st.builds(TimedStep, st.sampled_from(Step), times)


def write(all_steps: list[TimedStep]) -> str:
    text = ""
    for each in all_steps:
        text = add_step(text, each.step, each.at)
    return text


@given(st.lists(steps, max_size=40))
def test_what_is_written_is_read(written: list[TimedStep]) -> None:
    assert parse_steps(write(written)) == written


@given(st.lists(st.tuples(st.sampled_from(Stage), times), max_size=10))
def test_the_beginnings_of_stages_are_steps_of_their_names(begun: list[tuple[Stage, float]]) -> None:
    read = parse_steps(add_steps("", begun))
    assert [(each.step.name, each.at) for each in read] == [(stage.name, at) for stage, at in begun]


@given(st.lists(steps, min_size=1, max_size=7), st.integers(200, 300))
def test_of_a_job_that_is_tried_for_ever_the_last_steps_are_kept(some: list[TimedStep], number: int) -> None:
    written = list(islice(cycle(some), number))
    text = write(written)
    kept = parse_steps(text)
    assert len(text) <= 1024
    assert len(kept) >= 60
    assert kept == written[-len(kept) :]


def test_up_to_a_kilobyte_all_is_kept_and_then_whole_steps_from_the_last() -> None:
    step = TimedStep(Step.CHECK, 10.0)
    assert write([step] * 128) == "c10.000 " * 128
    assert len(write([step] * 128)) == 1024
    assert write([TimedStep(Step.END, 1.0), *[step] * 128]) == "c10.000 " * 127
    assert add_steps("c10.000 " * 128, [(Stage.WAIT, 10.0)]) == "c10.000 " * 126 + "w10.000 "
