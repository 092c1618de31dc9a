"""Swap a face into all pictures and videos of a folder. Run it again after Ctrl-C or a crash: it goes on.

    python folder.py holiday me.jpg swapped

The service and the credentials come from the environment. Exit codes: 0 all done, 1 some failed, 2 it could not begin,
3 the batch was stopped.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from facewarp_async import (
    Completed,
    Event,
    FaceSwapClient,
    FaceWarpError,
    Failed,
    InDoubtError,
    JobEnded,
    Limits,
    Skipped,
    SwapPipeline,
    jobs_from_folder,
)


class Progress:
    """One line on stderr that says how many are done."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Be told by the pipeline."""
        if isinstance(event, JobEnded):
            self.ended[type(event.outcome).__name__] += 1
            print("\r", dict(self.ended), end="", file=sys.stderr, flush=True)


async def swap_folder(client: FaceSwapClient, folder: Path, face: Path, out: Path) -> int:
    """Swap all of a folder, tell of each file on stdout, and return the exit code."""
    jobs = jobs_from_folder(folder, face=face, output_dir=out)
    code = 0
    async with SwapPipeline(
        client,
        limits=Limits(in_flight=64),
        output_dir=out,
        journal=out / "batch.db",
        on_event=Progress(),
    ) as pipeline:
        async for outcome in pipeline.stream(jobs):
            match outcome:
                case Completed(job=job, path=path, resumed=resumed):
                    print(f"{job.media} -> {path}" + (" (done before)" if resumed else ""))
                case Failed(job=job, error=InDoubtError()):
                    code = 1
                    print(f"{job.media}: perhaps paid for. See in the account, then run with in_doubt='recreate'")
                case Failed(job=job, error=error, task_id=task_id):
                    code = 1
                    print(f"{job.media}: {error}" + ("" if task_id is None else f" [facewarp task {task_id}]"))
                case Skipped(job=job):
                    print(f"{job.media}: not done")
    if pipeline.stopped_by is not None:
        print(pipeline.stopped_by, file=sys.stderr)
        return 3
    return code


async def main(folder: str, face: str, out: str) -> int:
    """Make the client and swap."""
    try:
        async with FaceSwapClient.from_env() as client:
            return await swap_folder(client, Path(folder), Path(face), Path(out))
    except FaceWarpError as error:  # no credentials, no such folder, a journal in use
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
