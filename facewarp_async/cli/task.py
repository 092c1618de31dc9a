"""``facewarp task``: a task that was created before."""

from __future__ import annotations

import os
from typing import Any

from attrs import frozen

from facewarp_async.cli.arguments import check_writable
from facewarp_async.cli.exits import ExitCode, UsageError
from facewarp_async.cli.faces import fetch_faces
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import job_progress
from facewarp_async.cli.provider import Embedded, choose_service, open_client
from facewarp_async.cli.single import fetch_swap, prepare_out
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.errors import Stage
from facewarp_async.models import FaceDetection, Result, Task, VideoResult
from facewarp_async.urls import Location


@frozen(kw_only=True)
class TaskCommand:
    """The command, as it was asked for.

    Attributes:
        task_id: The task.
        out: Where its result goes, a file or a folder; ``None``: it is not fetched.
        as_json: Whether stdout gets an object.
        service: Whom to ask.
    """

    task_id: int
    out: Location | None
    as_json: bool
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        service = choose_service(self.service, os.environ)
        if isinstance(service, Embedded):
            raise UsageError("a task is known to the service that made it: say which with --provider or --base-url")
        if self.out is not None:
            await prepare_out(self.out, [])
        async with open_client(service, output) as client:
            if self.out is None:
                await self._tell(await client.get_task(self.task_id), output)
            else:
                await self._fetch(self.out, client, output)
        return ExitCode.DONE

    async def _tell(self, task: Task, output: Output) -> None:
        if self.as_json:
            await output.json(task_record(task))
        else:
            what = "" if task.result is None else f", {_described(task.result)}"
            await output.text(f"task {task.id}: {task.status.value}{what}")

    async def _fetch(self, out: Location, client: FaceSwapClient, output: Output) -> None:
        with job_progress(output, f"task {self.task_id}") as show:
            show(Stage.WAIT)
            result = await client.wait_for_task(self.task_id, timeout_s=Timeouts().video_task_s)
            show(Stage.DOWNLOAD)
            stem = f"task-{self.task_id}"
            if isinstance(result, FaceDetection):
                await check_writable(out)
                await fetch_faces(result.faces, out, stem, client, output, as_json=self.as_json)
            else:
                await fetch_swap(result, out, stem, client, output)


def task_record(task: Task) -> dict[str, Any]:
    """Return a task as an object: ``id``, ``status``, ``message``, and the ``kind`` of its result, if it has one."""
    kind = None if task.result is None else _kind(task.result)
    return {"id": task.id, "status": task.status.value, "message": task.message, "kind": kind}


def _described(result: Result) -> str:
    if isinstance(result, FaceDetection):
        return f"{len(result.faces)} faces"
    size = f" of {result.width} x {result.height}" if result.width and result.height else ""
    return f"{_kind(result)}{size}"


def _kind(result: Result) -> str:
    if isinstance(result, FaceDetection):
        return "faces"
    return "video" if isinstance(result, VideoResult) else "image"
