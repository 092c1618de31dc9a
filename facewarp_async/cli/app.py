"""The program: its commands, and what is done about a command line that names none."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from cyclopts import App, CycloptsError, Parameter

from facewarp_async.cli import commands, help
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.output import Output


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - it brings half of the standard library

    return f"facewarp-async {version('facewarp-async')}"


app: App = App(
    name="facewarp",
    help="Swap faces in pictures and videos, through Vidnoz, MioCreate or on this machine.",
    help_epilogue=help.PROGRAM,
    help_format="plaintext",
    version=_version,
    default_parameter=Parameter(negative=()),
)
app.command(commands.demo, help_epilogue=help.DEMO)
app.command(commands.swap, help_epilogue=help.SWAP)
app.command(commands.faces, help_epilogue=help.FACES)
app.command(commands.multi, help_epilogue=help.MULTI)
app.command(commands.batch, help_epilogue=help.BATCH)
app.command(commands.report, help_epilogue=help.REPORT)
app.command(commands.task, help_epilogue=help.TASK)
app.command(commands.serve, help_epilogue=help.SERVE)


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
    code = command(*bound.args, **bound.kwargs)
    return code if isinstance(code, int) else ExitCode.DONE
