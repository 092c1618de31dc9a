"""The program ``facewarp``, also ``python -m facewarp_async``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

_USAGE = 2
_INTERRUPTED = 130
_EXTRA = {"cyclopts", "rich"}


def main() -> int:
    """Run the command line and return its exit code, after which the process is to end: it heeds no signal any more."""
    _hold_standard_streams()
    try:
        _interrupt_on_termination()
        code = _run()
        _ignore_interruptions()
    except KeyboardInterrupt:  # before the event loop has taken over the signals, or after it has let go of them
        _ignore_interruptions()
        code = _INTERRUPTED
    if _is_thread_stuck():
        _flush()
        os._exit(code)
    return code


def _run() -> int:
    try:
        # Not above: the extra may be missing, and the signals are to be looked after first.
        from facewarp_async.cli.app import run_program  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(f"facewarp: {error.name} is not installed: pip install 'facewarp-async[cli]'\n")
        return _USAGE
    return run_program(sys.argv[1:])


def _hold_standard_streams() -> None:
    """Open what the caller has closed of the standard streams, so that no other file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept to the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept to the end


def _interrupt_on_termination() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise_interrupt)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_interruptions() -> None:
    """Keep the exit code: Python would end by a signal that arrives while it ends anyway."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _is_thread_stuck() -> bool:
    """Tell whether a thread still reads or writes, such as into a full pipe, which would hold the exit."""
    me = threading.current_thread()
    others = [thread for thread in threading.enumerate() if thread is not me and not thread.daemon]
    for thread in others:
        thread.join(timeout=0.1)
    return any(thread.is_alive() for thread in others)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())
