"""Tasks that are added to a policy and looked at."""

from __future__ import annotations

from facewarp_async.models import TaskKind
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import Watch


def added(policy: LearntPolling, at: float, kind: TaskKind = TaskKind.IMAGE_SWAP) -> Watch:
    watch = Watch(kind, at)
    policy.add(watch)
    return watch


def look(policy: LearntPolling, watch: Watch, at: float, *, done: bool) -> None:
    policy.learn(watch, at, done)
    watch.looks, watch.looked_at = watch.looks + 1, at
