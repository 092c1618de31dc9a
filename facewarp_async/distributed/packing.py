"""Errors and outcomes on their way to another process."""

from __future__ import annotations

import copy
import pickle

from attrs import evolve

from facewarp_async.errors import FaceWarpError
from facewarp_async.pipeline import Failed, Outcome


def pack_error(error: FaceWarpError) -> bytes:
    """Write an error for another process, without those that lie behind it.

    Dask has exceptions pickled with their causes; those may hold what does not travel, or URLs with their signatures.
    """
    return pickle.dumps(copy.copy(error))


def pack_outcome(outcome: Outcome) -> bytes:
    """Write an outcome for another process, its error as `pack_error` does."""
    return pickle.dumps(evolve(outcome, error=copy.copy(outcome.error)) if isinstance(outcome, Failed) else outcome)
