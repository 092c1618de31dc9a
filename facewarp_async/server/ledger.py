"""What a service was asked and did, for its users and for tests."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import TypeVar

from attrs import field, frozen

from facewarp_async.models import TaskKind

MAX_ENTRIES = 100_000
"""How many distinct things each part of a ledger remembers; the oldest are forgotten first."""

K = TypeVar("K", bound=Hashable)


@frozen(kw_only=True)
class Creation:
    """A task that was created and paid for.

    Attributes:
        task_id: Its number.
        kind: What it makes.
        keys: The keys that it was created with: media and face, or the pairs one after the other.
    """

    task_id: int
    kind: TaskKind
    keys: tuple[str, ...]


@frozen
class Ledger:
    """Counts since the service started.

    Attributes:
        calls: How often each call came in, by its path; ``put``, ``get`` and ``head`` are the storage's.
        refusals: How often a call was refused, by the call and the code: the envelope's, or the storage's HTTP status.
        faults: How often each fault was played, by the call and the fault's name.
        uploads: How often a whole body was stored, by its key.
        contents: The same by its MD5, which is also its ETag: more than one means that a file was sent twice.
        creations: The tasks that were created, the oldest first.
    """

    calls: Counter[str] = field(factory=Counter)
    refusals: Counter[tuple[str, int]] = field(factory=Counter)
    faults: Counter[tuple[str, str]] = field(factory=Counter)
    uploads: Counter[str] = field(factory=Counter)
    contents: Counter[str] = field(factory=Counter)
    creations: deque[Creation] = field(factory=lambda: deque(maxlen=MAX_ENTRIES))

    def copy(self) -> Ledger:
        """Return what it says now. May be called from another thread: each part is copied in one step."""
        return Ledger(
            calls=Counter(dict(self.calls)),
            refusals=Counter(dict(self.refusals)),
            faults=Counter(dict(self.faults)),
            uploads=Counter(dict(self.uploads)),
            contents=Counter(dict(self.contents)),
            creations=self.creations.copy(),
        )

    def record_upload(self, key: str, md5: str) -> None:
        """Count a body that was stored whole."""
        _count(self.uploads, key)
        _count(self.contents, md5)

    def paid_twice(self) -> list[Creation]:
        """Return the creations that repeat an earlier one: same kind, same keys."""
        seen: set[tuple[TaskKind, tuple[str, ...]]] = set()
        repeated = []
        for creation in self.creations:
            what = (creation.kind, creation.keys)
            if what in seen:
                repeated.append(creation)
            seen.add(what)
        return repeated


def _count(counter: Counter[K], name: K) -> None:
    counter[name] += 1
    if len(counter) > MAX_ENTRIES:
        del counter[next(iter(counter))]
