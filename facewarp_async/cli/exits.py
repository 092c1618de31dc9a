"""Exit codes, and which of them an error stands for."""

from __future__ import annotations

from enum import IntEnum

from facewarp_async.errors import ConfigurationError, FaceWarpError, Recovery


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130


class UsageError(ConfigurationError):
    """The command line asks for something that cannot be meant."""


def exit_code_for(error: FaceWarpError) -> ExitCode:
    """Return the exit code of a command that an error has ended."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    return ExitCode.STOPPED if error.recovery is Recovery.STOP_BATCH else ExitCode.FAILED
