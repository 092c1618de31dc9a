"""The commands and their options, as ``--help`` tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from facewarp_async.cli.batch import BatchCommand
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.options import (
    AtLeastNone,
    AtLeastOne,
    Hd,
    OptionalOut,
    Out,
    Port,
    Rate,
    Resume,
    ResumeOptions,
    Service,
    ServiceOptions,
    Verbose,
)
from facewarp_async.cli.output import Output
from facewarp_async.cli.run import run
from facewarp_async.cli.serve import ServeCommand
from facewarp_async.cli.swap import SwapCommand
from facewarp_async.config import Limits

_AFTERWORD = """\
Exit codes:
    0  all done
    1  some jobs failed
    2  usage: a wrong option, a file that cannot be used, missing credentials
    3  the batch was stopped: no credits left, token refused, disk full
  130  interrupted by Ctrl-C or SIGTERM

Environment:
  FACEWARP_API_KEY, or FACEWARP_CLIENT_ID with FACEWARP_CLIENT_SECRET
  FACEWARP_PROVIDER, FACEWARP_BASE_URL
  NO_COLOR

Examples:
  facewarp demo
  facewarp swap team.jpg me.jpg
  facewarp batch holiday --face me.jpg -o swapped
"""

_SWAP_EXAMPLES = """\
Examples:
  facewarp swap team.jpg me.jpg
  facewarp swap clip.mp4 me.jpg -o clip-with-me.mp4 --hd
  facewarp swap team.jpg me.jpg -o results --provider vidnoz
"""

_BATCH_EXAMPLES = """\
Examples:
  facewarp batch holiday --face me.jpg -o swapped
  facewarp batch holiday --face me.jpg -o swapped --json > outcomes.jsonl
  facewarp batch holiday --face me.jpg -o swapped --provider miocreate --rps 5
"""

_DEMO_EXAMPLES = """\
Examples:
  facewarp demo
  facewarp demo -o /tmp/faces
"""

_SERVE_EXAMPLES = """\
Examples:
  facewarp serve
  facewarp serve --port 8600 --data-dir state --api-key secret
  facewarp serve --rps 1 --credits 100
"""

_DEFAULT_LIMITS, _DEFAULT_RESUME, _DEFAULT_SERVICE = Limits(), ResumeOptions(), ServiceOptions()

app = App(
    name="facewarp",
    help="Swap faces in pictures and videos, through Vidnoz, MioCreate or on this machine.",
    help_epilogue=_AFTERWORD,
    help_format="plaintext",
    version=f"facewarp-async {version('facewarp-async')}",
    default_parameter=Parameter(negative=()),
)


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


@app.command(help_epilogue=_DEMO_EXAMPLES)
def demo(*, out: Out = Path("facewarp-demo"), verbose: Verbose = False) -> ExitCode:
    """Try it, without an account: make sample photos, swap their faces on this machine, show before and after.

    Args:
        out: The folder for the photos, the results and contact-sheet.jpg. It may be used again.
    """
    try:
        # Not above: it needs the extra.
        from facewarp_async.cli.demo import DemoCommand  # noqa: PLC0415
    except ModuleNotFoundError as error:
        Output().warn(f"the demo swaps faces with {error.name}: pip install 'facewarp-async[cli,local]'")
        return ExitCode.USAGE
    return run(DemoCommand(folder=out), verbose=verbose)


@app.command(help_epilogue=_SWAP_EXAMPLES)
def swap(
    media: Path,
    face: Path,
    /,
    *,
    out: OptionalOut = None,
    hd: Hd = False,
    service: Service = _DEFAULT_SERVICE,
) -> ExitCode:
    """Put a face into one picture or video, and print the path of the result.

    Args:
        media: The picture or video to change.
        face: A picture of the face to put in.
        out: A file to write, or a folder (an existing one, or a name without an extension). In a folder the result is
            called like the media with -swapped behind it, and no file is replaced. Without this: the current folder.
    """
    command = SwapCommand(media=media, face=face, out=out, hd=hd, service=service)
    return run(command, verbose=service.verbose)


@app.command(help_epilogue=_BATCH_EXAMPLES)
def batch(
    folder: Path,
    /,
    *,
    face: Path,
    out: Out,
    hd: Hd = False,
    json: bool = False,
    uploads: AtLeastOne = _DEFAULT_LIMITS.uploads,
    in_flight: AtLeastOne = _DEFAULT_LIMITS.in_flight,
    downloads: AtLeastOne = _DEFAULT_LIMITS.downloads,
    resume: Resume = _DEFAULT_RESUME,
    service: Service = _DEFAULT_SERVICE,
) -> ExitCode:
    """Put a face into all pictures and videos of a folder and of those below it; print the paths of the results.

    A failed file stops no other. Each is told on stderr, with what it cost and what to do.

    Args:
        folder: Where the pictures and videos are.
        face: A picture of the face to put in.
        out: The folder for the results, which lie there as the media do in theirs.
        json: Print an object a line for each file, in order: media, status (completed, failed, skipped), path, task_id,
            error (type, code, message, advice, paid), stage, reason, seconds by stage.
        uploads: How many files are sent at once.
        in_flight: How many tasks are under way at once.
        downloads: How many results are fetched at once.
    """
    limits = Limits(uploads=uploads, in_flight=in_flight, downloads=downloads)
    command = BatchCommand(
        folder=folder, face=face, out=out, hd=hd, as_json=json, limits=limits, resume=resume, service=service
    )
    return run(command, verbose=service.verbose)


@app.command(help_epilogue=_SERVE_EXAMPLES)
def serve(
    *,
    port: Port = 0,
    host: str = "127.0.0.1",
    data_dir: Path | None = None,
    api_key: str | None = None,
    rps: Rate = 0.0,
    credits: AtLeastNone | None = None,
    workers: AtLeastOne | None = None,
    verbose: Verbose = False,
) -> ExitCode:
    """Run the local service until Ctrl-C or SIGTERM, which it ends with exit code 0; print its base URL.

    Args:
        port: The TCP port; 0 for a free one.
        host: The address to bind to. The service has no encryption: think before you open it to a network.
        data_dir: Where files and tasks are kept, to survive a restart; without this, until the end.
        api_key: The key to accept; made up without this.
        rps: How many calls a second each credential may make; 0: no limit.
        credits: How many tasks may be created; without this, any number.
        workers: How many tasks are worked on at once; without this, as many as there are processors.
    """
    command = ServeCommand(
        port=port, host=host, data_dir=data_dir, api_key=api_key, rps=rps, credits=credits, workers=workers
    )
    return run(command, verbose=verbose, when_interrupted=ExitCode.DONE)
