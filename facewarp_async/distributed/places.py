"""Relative paths, which mean something only where the batch was started: absolute on their way out, and back again."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from facewarp_async.models import Asset, DetectFaces, Job, MultiFaceSwap
from facewarp_async.pipeline import Completed, Failed, Outcome
from facewarp_async.urls import Location


class Places:
    """Knows where relative paths begin.

    Args:
        folder: The driver's current folder.
        output_dir: Where results go, as the driver was told.
    """

    def __init__(self, folder: Path, output_dir: Location | None) -> None:
        self._folder = folder
        self._given_dir = output_dir
        self.output_dir: Location | None = self._folder / output_dir if isinstance(output_dir, Path) else output_dir
        """The same for all machines."""

    def _absolute(self, file: Location | Asset) -> Location | Asset:
        return self._folder / file if isinstance(file, Path) else file

    def job(self, job: Job) -> Job:
        """Return a job for all machines."""
        media = self._absolute(job.media)
        match job:
            case DetectFaces():
                return evolve(job, media=media)
            case MultiFaceSwap():
                return evolve(
                    job, media=media, faces={index: self._absolute(face) for index, face in job.faces.items()}
                )
            case _:
                return evolve(job, media=media, face=self._absolute(job.face))

    def outcome(self, outcome: Outcome, job: Job) -> Outcome:
        """Return an outcome with the job and the folder as the driver knows them."""
        if isinstance(outcome, Failed):
            outcome.error.job = job
        if isinstance(outcome, Completed) and isinstance(outcome.path, Path) and isinstance(self._given_dir, Path):
            assert isinstance(self.output_dir, Path)
            return evolve(outcome, job=job, path=self._given_dir / outcome.path.relative_to(self.output_dir))
        return evolve(outcome, job=job)
