"""The program: its commands, and what is done about a command line that names none."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from cyclopts import App, CycloptsError, Parameter

from facewarp_async.cli import commands, help
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.output import Output


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - it brings half of the standard library

    return f"facewarp-async {version('facewarp-async')}"


def _add(command: Callable[..., ExitCode], epilogue: str, *, usage: str | None = None) -> None:
    """Add a command. Where lines of the source end, those of its help need not."""
    command.__doc__ = re.sub(r"\n {8,}", " ", inspect.cleandoc(command.__doc__ or ""))
    app.command(command, help_epilogue=epilogue, usage=usage)


app: App = App(
    name="facewarp",
    help="Swap faces in pictures and videos, through Vidnoz, MioCreate or on this machine.",
    help_epilogue=help.PROGRAM,
    help_format="plaintext",
    version=_version,
    default_parameter=Parameter(negative=()),
)
_add(commands.demo, help.DEMO)
_add(commands.swap, help.SWAP)
_add(commands.faces, help.FACES)
_add(commands.multi, help.MULTI, usage=help.MULTI_USAGE)
_add(commands.batch, help.BATCH, usage=help.BATCH_USAGE)
_add(commands.report, help.REPORT)
_add(commands.task, help.TASK)
_add(commands.serve, help.SERVE)


@app.command(help_epilogue=help.COMPLETION)
def completion(shell: Literal["bash", "zsh", "fish"], /) -> ExitCode:
    """Print a script that lets a shell complete commands and options.

    Args:
        shell: The shell.
    """
    sys.stdout.write(app.generate_completion(prog_name="facewarp", shell=shell))
    return ExitCode.DONE


def run_program(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and return the exit code."""
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        name = " ".join(error.command_chain or ())
        output = Output()
        output.warn(str(error))
        output.say(f"Try: {' '.join(filter(None, ('facewarp', name)))} --help")
        return ExitCode.USAGE
    if command in {app.help_print, app.version_print, completion}:
        return _print(partial(command, *bound.args, **bound.kwargs))
    code: int = command(*bound.args, **bound.kwargs)
    return code


def _print(text: Callable[[], object]) -> ExitCode:
    """Print what needs no event loop."""
    try:
        text()
        sys.stdout.flush()
    except OSError as error:
        # What it holds back would be written, and fail, once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # who has read enough knows
            Output().warn(f"stdout cannot be written ({error.strerror})")
        return ExitCode.FAILED
    return ExitCode.DONE
