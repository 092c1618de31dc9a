"""A task as ``/v1/task/detail`` shows it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from facewarp_async.server.records import Progress, StoredTask

_FINISHED, _BROKEN = 0, 3
_OPEN = {Progress.WAITING: 1, Progress.PROCESSING: 2}


class FailureStyle(StrEnum):
    """How a failed task is told: the three ways that the protocol knows (section "Tasks")."""

    CODE = "code"
    """By the envelope's code."""
    STATUS = "status"
    """By a status that is none of waiting, processing and finished."""
    MESSAGE = "message"
    """By a message beside status 0, and no result."""


def show(
    task: StoredTask, *, sign: Callable[[str], str], style: FailureStyle, later_statuses: bool
) -> tuple[int, str, dict[str, Any]]:
    """Return the envelope's code, message and data for a task.

    Args:
        task: The task.
        sign: Gives a fresh URL for a key.
        style: How a failure is told.
        later_statuses: Whether waiting and processing are -1 and -2, as in the vendors' later API.
    """
    if task.is_open:
        status = _OPEN[task.progress]
        return 200, "", _data(task, -status if later_statuses else status)
    if task.progress is Progress.FINISHED:
        return 200, "", _data(task, _FINISHED, result=with_urls(task.fields, sign))
    status = _BROKEN if style is FailureStyle.STATUS else _FINISHED
    code = task.code if style is FailureStyle.CODE else 200
    return code, task.message if code != 200 else "", _data(task, status)


def _data(task: StoredTask, status: int, *, result: Any = None) -> dict[str, Any]:
    return {
        "id": task.id,
        "message": task.message,
        "status": status,
        "additional_data": {} if result is None else result,
    }


def with_urls(fields: Any, sign: Callable[[str], str]) -> Any:
    """Return a result's fields with a URL beside each key."""
    if isinstance(fields, list):
        return [with_urls(each, sign) for each in fields]
    urls = {f"{name.removesuffix('key')}url": sign(value) for name, value in fields.items() if name.endswith("_key")}
    return {**fields, **urls}
