"""What a batch would do, in figures. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from facewarp_async.text import bytes_text, seconds


@define
class Plan:
    """What a batch would do.

    Attributes:
        rate: Calls a second; ``None``: as many as go.
        is_free: Whether tasks take no credits.
        most_tasks: How many tasks may be created; ``None``: any number.
        files: How many jobs there are.
        contents: How many distinct contents would be sent.
        upload_bytes: Their bytes.
        tasks: How many tasks would be created.
        waiting: For how many jobs an earlier run has created all tasks, whose results are still to be fetched.
        done_before: How many are done.
        failed_before: How many had failed for good, and would not be tried again.
        in_doubt: How many are in doubt, and would be held.
        unusable: What is wrong with files that cannot be used.
    """

    rate: float | None
    is_free: bool
    most_tasks: int | None = None
    files: int = 0
    contents: int = 0
    upload_bytes: int = 0
    tasks: int = 0
    waiting: int = 0
    done_before: int = 0
    failed_before: int = 0
    in_doubt: int = 0
    unusable: list[str] = field(factory=list)

    @property
    def created(self) -> int:
        """How many tasks would be created in one run."""
        return self.tasks if self.most_tasks is None else min(self.tasks, self.most_tasks)

    @property
    def duration_s(self) -> float | None:
        """About how long the calls take at the provider's rate: one for each upload, two for each task, one to look at
        each task that is under way.
        """
        calls = self.contents + 2 * self.created + self.waiting
        return None if self.rate is None else math.ceil(calls / self.rate)

    def record(self) -> dict[str, Any]:
        """Return it as an object."""
        return {
            "files": self.files,
            "uploads": self.contents,
            "upload_bytes": self.upload_bytes,
            "tasks": self.created,
            "tasks_left_by_limit": self.tasks - self.created,
            "waiting": self.waiting,
            "done_before": self.done_before,
            "failed_before": self.failed_before,
            "in_doubt": self.in_doubt,
            "unusable": len(self.unusable),
            "seconds": self.duration_s,
        }

    def lines(self) -> Iterator[str]:
        """Return it in lines for people."""
        yield _counted(self.files, "file")
        for number, what in (
            (self.done_before, "done before"),
            (self.waiting, "paid for before, with results to be fetched"),
            (self.failed_before, "failed before, not to be tried again without --retry-failed"),
            (self.in_doubt, "in doubt, to be held"),
            (len(self.unusable), "cannot be used"),
        ):
            if number:
                yield f"  {number} {what}"
        yield f"to upload: {_counted(self.contents, 'distinct content')}, {bytes_text(self.upload_bytes)}"
        cost = "at no cost" if self.is_free else "and pay for"
        limit = f" of {self.tasks}: --max-credits" if self.created < self.tasks else ""
        yield f"to create {cost}: {_counted(self.created, 'task')}{limit}"
        if self.duration_s is None:
            yield "no limit of calls: it takes as long as the work does"
        else:
            unit = "call" if self.rate == 1 else "calls"
            yield f"at {self.rate:g} {unit} a second it takes at least {seconds(self.duration_s)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
