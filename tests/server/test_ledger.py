"""The ledger's bounds."""

from __future__ import annotations

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.server import Creation, Ledger
from facewarp_async.server import ledger as module


def test_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much goes on, a ledger holds so many entries and no more."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    ledger = Ledger()
    for number in range(5):
        ledger.record_upload(f"key{number}", "md5")
    assert ledger.uploads == {"key2": 1, "key3": 1, "key4": 1}
    assert ledger.contents == {"md5": 5}


def test_paid_twice_needs_the_same_kind_and_keys() -> None:
    """Only a creation that repeats kind and keys is one too many."""
    ledger = Ledger()
    for task_id, (kind, keys) in enumerate(
        [
            (TaskKind.IMAGE_SWAP, ("a", "b")),
            (TaskKind.IMAGE_SWAP, ("b", "a")),
            (TaskKind.FACE_DETECTION, ("a", "b")),
            (TaskKind.IMAGE_SWAP, ("a", "b")),
        ]
    ):
        ledger.creations.append(Creation(task_id=task_id, kind=kind, keys=keys))
    assert [creation.task_id for creation in ledger.paid_twice()] == [3]
