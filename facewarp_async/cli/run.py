"""Running a command: its event loop, its signals, its exit code."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from facewarp_async.cli.exits import ExitCode, exit_code_for
from facewarp_async.cli.output import LogHandler, Output
from facewarp_async.errors import FaceWarpError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

Command = Callable[[Output], Awaitable[ExitCode]]


def run(command: Command, *, verbose: bool, when_interrupted: ExitCode = ExitCode.INTERRUPTED) -> ExitCode:
    """Run a command to its end, or to the first signal that asks for it.

    Args:
        command: What to do; it is cancelled by SIGINT, SIGTERM and SIGHUP.
        verbose: Whether to show what the library logs.
        when_interrupted: The exit code after a signal.
    """
    output = Output()
    with _logging(output, verbose=verbose):
        return anyio.run(
            _run, command, output, when_interrupted, backend_options={"use_uvloop": find_spec("uvloop") is not None}
        )


async def _run(command: Command, output: Output, when_interrupted: ExitCode) -> ExitCode:
    code: ExitCode | None = None
    async with anyio.create_task_group() as group:
        work = anyio.CancelScope()
        # It listens to the very end, so that a second Ctrl-C does not break into the cleaning up after the first.
        await group.start(_cancel_on_signal, work)
        try:
            with work:
                code = await _attempt(command, output)
        finally:
            group.cancel_scope.cancel()
    return when_interrupted if code is None else code


async def _attempt(command: Command, output: Output) -> ExitCode:
    try:
        return await command(output)
    except FaceWarpError as error:
        output.warn(str(error))
        return exit_code_for(error)


async def _cancel_on_signal(work: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(*_heeded()) as signals:
        task_status.started()
        async for _ in signals:
            work.cancel()


def _heeded() -> list[signal.Signals]:
    """Return the signals that end a command; one that the caller has switched off, as nohup does, stays off."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _logging(output: Output, *, verbose: bool) -> Iterator[None]:
    handler = LogHandler(output)
    root, library = logging.getLogger(), logging.getLogger("facewarp_async")
    level = library.level
    root.addHandler(handler)
    library.setLevel(logging.DEBUG if verbose else logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(level)
        root.removeHandler(handler)
