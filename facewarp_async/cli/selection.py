"""Which jobs a batch is made of, checked as far as can be before anything begins."""

from __future__ import annotations

from collections.abc import Iterable

import anyio.to_thread

from facewarp_async.cli.arguments import check_face, check_folders, is_below
from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.options import SelectionOptions
from facewarp_async.errors import InputError
from facewarp_async.models import Asset, DetectFaces, Job, MultiFaceSwap
from facewarp_async.sources import FolderJobs, ManifestJobs, jobs_from_folder, jobs_from_manifest
from facewarp_async.urls import Location

BatchJobs = FolderJobs | ManifestJobs


async def choose_jobs(
    folder: Location | None, face: Location | None, out: Location, options: SelectionOptions, *, hd: bool
) -> BatchJobs:
    """Return the jobs that the command line means.

    Raises:
        UsageError: It names both a folder and a manifest, or neither; a row of the manifest cannot be meant; the
            results would lie over what they are made from.
    """
    if face is not None:
        await check_face(face)
    if options.manifest is not None:
        _check_manifest_options(folder, options)
        jobs = jobs_from_manifest(options.manifest, face=face, hd=hd)
        await anyio.to_thread.run_sync(_check_rows, jobs, out)
        return jobs
    if folder is None:
        raise UsageError("which files? Name a FOLDER, or a --manifest")
    if face is None:
        raise UsageError("which face? Name a picture of it with --face")
    await check_folders(folder, out, face)
    return jobs_from_folder(
        folder,
        face=face,
        hd=hd,
        recursive=options.recursive,
        include=options.include or (),
        exclude=options.exclude or (),
        output_dir=out,
    )


def _check_manifest_options(folder: Location | None, options: SelectionOptions) -> None:
    if folder is not None:
        raise UsageError(f"both a FOLDER, {folder}, and a --manifest are named: expected one of them")
    if options.include or options.exclude or not options.recursive:
        raise UsageError("--include, --exclude and --no-recursive choose from a FOLDER, not from a --manifest")


def _check_rows(jobs: Iterable[Job], out: Location) -> None:
    try:
        for job in jobs:
            for path in _paths(job):
                if is_below(path, out):
                    raise UsageError(f"--out {out} holds {path}: results go to a folder of their own")
    except InputError as error:
        raise UsageError(str(error)) from error


def _paths(job: Job) -> Iterable[Location]:
    files = [job.media]
    if isinstance(job, MultiFaceSwap):
        files += job.faces.values()
    elif not isinstance(job, DetectFaces):
        files.append(job.face)
    return (file for file in files if not isinstance(file, Asset))
