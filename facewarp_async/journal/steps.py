"""When a job's stages began, as text that only grows at its end; pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from attrs import frozen

from facewarp_async.errors import Stage

_MOST_BYTES: Final = 1024
"""What is kept of a job that is tried again and again: at least its last sixty steps."""


class Step(StrEnum):
    """What a job has come to: the beginning of a stage, a task that was paid for, or the end of a run's work on it."""

    CHECK = "c"
    UPLOAD = "u"
    CREATE = "n"
    CREATED = "t"
    WAIT = "w"
    DOWNLOAD = "d"
    END = "e"


_BEGINNINGS: Final = {
    Stage.CHECK: Step.CHECK,
    Stage.UPLOAD: Step.UPLOAD,
    Stage.CREATE: Step.CREATE,
    Stage.WAIT: Step.WAIT,
    Stage.DOWNLOAD: Step.DOWNLOAD,
}


@frozen
class TimedStep:
    """A step and when it was, in seconds since 1970."""

    step: Step
    at: float


def add_steps(text: str, begun: Iterable[tuple[Stage, float]]) -> str:
    """Return a text with the beginnings of stages added."""
    return _cut(text + "".join([f"{_BEGINNINGS[stage].value}{at:.3f} " for stage, at in begun]))


def add_step(text: str, step: Step, at: float) -> str:
    """Return a text with a step added."""
    return _cut(f"{text}{step.value}{at:.3f} ")


def parse_steps(text: str) -> list[TimedStep]:
    """Read a text.

    Raises:
        ValueError: It is none.
    """
    return [TimedStep(Step(word[0]), float(word[1:])) for word in text.split()]


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_BYTES else text[-_MOST_BYTES:].partition(" ")[2]
