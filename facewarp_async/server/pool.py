"""Worker processes: started when they are needed, used again, killed when they must stop."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

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


_LINGER_S = 0.5


class WorkerDiedError(Exception):
    """A worker process has ended."""


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

    async def begin(self, work: Work) -> None:
        """Give the process its work and wait until it has got it.

        Raises:
            WorkerDiedError: It is dead, and did nothing.
        """
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(pack(dump_work(work)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:  # anyio before 4.12: OSError
            raise WorkerDiedError from error
        await self._receive()

    async def finish(self) -> Made:
        """Wait for what the process makes.

        Raises:
            WorkError: The work cannot be done.
            WorkerDiedError: The process died over it.
        """
        answer = await self._receive()
        if "made" in answer:
            return load_made(answer["made"])
        if "traceback" in answer:
            _log.error("a worker failed:\n%s", answer["traceback"])
        raise WorkError(answer["code"], answer["message"])

    async def _receive(self) -> Any:
        try:
            header = await self.answers.receive_exactly(HEADER_BYTES)
            return unpack(await self.answers.receive_exactly(body_length(header)))
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError) as error:
            raise WorkerDiedError from error

    async def bury(self) -> int | None:
        """Wait until a dead process is gone and return how it ended.

        It is killed only if it lingers: to signal a process that just ended takes its exit status from asyncio.
        """
        with anyio.move_on_after(_LINGER_S):
            await self.process.wait()
        return await self.kill()

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
        worker = await self._begin(work)
        try:
            made = await worker.finish()
        except WorkError:
            self._idle.append(worker)
            raise
        except WorkerDiedError as error:
            raise await _obituary(worker) from error
        except BaseException:
            await worker.kill()
            raise
        self._idle.append(worker)
        return made

    async def _begin(self, work: Work) -> _Worker:
        """Return a process that has begun. One that died while it was idle costs nothing."""
        while True:
            is_new = not self._idle
            worker = await _Worker.start(self._target) if is_new else self._idle.pop()
            try:
                await worker.begin(work)
            except WorkerDiedError as error:
                obituary = await _obituary(worker)
                if is_new:
                    raise obituary from error
            except BaseException:
                await worker.kill()
                raise
            else:
                return worker

    async def close(self) -> None:
        """Kill the idle processes; those that work were killed when their calls were cancelled."""
        while self._idle:
            await self._idle.pop().kill()


async def _obituary(worker: _Worker) -> WorkError:
    ending = await worker.bury()
    _log.error("a worker process died (exit status %s)", ending)
    return WorkError(601, f"Task exception occurred: its process died (exit status {ending})")
