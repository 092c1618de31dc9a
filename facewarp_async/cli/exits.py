"""Exit codes, and which of them an error stands for."""

from __future__ import annotations

from enum import IntEnum

from facewarp_async.errors import ConfigurationError, CreditsExhaustedError, FaceWarpError, Recovery


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130


class UsageError(ConfigurationError):
    """The command line asks for something that cannot be meant."""


class SpendingLimitError(CreditsExhaustedError):
    """As many tasks were created as the user allows. As without credits, what was paid for is still fetched."""

    advice = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code: int | None = None  # the service did not say it


def exit_code_for(error: FaceWarpError) -> ExitCode:
    """Return the exit code of a command that an error has ended."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    return ExitCode.STOPPED if error.recovery is Recovery.STOP_BATCH else ExitCode.FAILED
