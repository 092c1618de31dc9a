"""Worker processes: started when they are needed, used again, killed when they must stop."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import frozen

from facewarp_async.server.frames import HEADER_BYTES, body_length, pack, unpack
from facewarp_async.server.work import Made, Work, WorkError, dump_work, load_made

_log = logging.getLogger("facewarp_async.server")

# The worker gets this process's module path, as multiprocessing's would, so that it finds what this one found.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from facewarp_async.server.worker import main; main(sys.argv[2])"
)


class WorkerDiedError(Exception):
    """A worker process ended while it worked."""


@frozen
class _Worker:
    process: Process
    answers: BufferedByteReceiveStream

    @classmethod
    async def start(cls, target: str) -> _Worker:
        process = await anyio.open_process(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if _log.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
            # A Ctrl-C at the terminal is for the service, which then stops its workers.
            start_new_session=True,
        )
        assert process.stdout is not None
        return cls(process, BufferedByteReceiveStream(process.stdout))

    async def ask(self, work: Work) -> Made:
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(pack(dump_work(work)))
            header = await self.answers.receive_exactly(HEADER_BYTES)
            answer = unpack(await self.answers.receive_exactly(body_length(header)))
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError) as error:
            raise WorkerDiedError from error
        if "made" in answer:
            return load_made(answer["made"])
        if "traceback" in answer:
            _log.error("a worker failed:\n%s", answer["traceback"])
        raise WorkError(answer["code"], answer["message"])

    async def kill(self) -> int | None:
        """Kill the process and wait until it is gone; return how it ended."""
        with anyio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.kill()
            await self.process.aclose()
        return self.process.returncode


class WorkerPool:
    """Calls a function in worker processes, one call at a time in each.

    There are as many processes as calls go on at once; the caller limits them.

    Args:
        target: The function, as ``module:name``.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._idle: list[_Worker] = []

    async def run(self, work: Work) -> Made:
        """Do some work in a process. When this is cancelled, the process is killed.

        Raises:
            WorkError: The function raised it, or the process died (code 601). The next call gets another process.
        """
        worker = await self._take()
        try:
            made = await worker.ask(work)
        except WorkError:
            self._idle.append(worker)
            raise
        except WorkerDiedError as error:
            ending = await worker.kill()
            _log.error("a worker process died (exit status %s)", ending)
            raise WorkError(601, f"Task exception occurred: its process died (exit status {ending})") from error
        except BaseException:
            await worker.kill()
            raise
        self._idle.append(worker)
        return made

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await worker.kill()
        return await _Worker.start(self._target)

    async def close(self) -> None:
        """Kill the idle processes; those that work were killed when their calls were cancelled."""
        while self._idle:
            await self._idle.pop().kill()
