"""The errors as a set: the tree, what they say, and that they survive copying."""

from __future__ import annotations

import copy
import copyreg
import inspect
import pickle
import re

import pytest
import tblib.pickling_support

from facewarp_async import errors
from facewarp_async.errors import (
    FaceWarpError,
    InDoubtError,
    MultipleFacesError,
    RequestTimeoutError,
    Stage,
    StorageError,
    TaskTimeoutError,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, FaceWarpError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    stack: list[type] = [FaceWarpError]
    seen = {FaceWarpError}
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ([│ ]*)[├└]── (\w+)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + 1
        cls = getattr(errors, match[2])
        assert cls.__bases__[0] is stack[depth - 1]
        stack[depth:] = [cls]
        seen.add(cls)
    assert seen == set(CLASSES)


def test_an_error_says_what_happened_with_code_task_and_advice() -> None:
    error = MultipleFacesError("group.jpg: 4 faces", task_id=12, http_status=200)
    assert str(error) == (
        "group.jpg: 4 faces (code 603, task 12). "
        "Name the faces to change: facewarp multi, or MultiFaceSwap (swap_faces)"
    )


def test_an_error_knows_whether_a_task_was_paid_for() -> None:
    assert FaceWarpError("x").paid is False
    assert FaceWarpError("x", task_id=1).paid is True
    assert InDoubtError("x").paid is None


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_copying_and_pickling(cls: type[FaceWarpError]) -> None:
    error = cls("what happened")
    error.stage, error.task_id, error.retry_after_s = Stage.WAIT, 7, 1.5
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is cls
        assert str(twin) == str(error)
        assert (twin.stage, twin.task_id, twin.retry_after_s, twin.recovery) == (Stage.WAIT, 7, 1.5, error.recovery)


def test_a_copy_has_attributes_of_its_own_whatever_else_has_been_taught_to_copy_exceptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two jobs that end by one error must not tell of each other's tasks."""
    monkeypatch.setitem(copyreg.dispatch_table, TaskTimeoutError, tblib.pickling_support.pickle_exception)
    error = TaskTimeoutError("it took too long", task_id=1)
    twin = copy.copy(error)
    twin.task_id = 2
    assert (error.task_id, str(twin)) == (1, str(TaskTimeoutError("it took too long", task_id=2)))


def test_time_outs_are_caught_as_such() -> None:
    assert issubclass(TaskTimeoutError, TimeoutError)
    assert issubclass(RequestTimeoutError, TimeoutError)
    assert StorageError("x", http_status=404).http_status == 404
