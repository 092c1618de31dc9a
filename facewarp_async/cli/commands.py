"""The commands with their arguments, as ``--help`` tells of them. Each imports what it does when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.options import (
    Address,
    AtLeastNone,
    AtLeastOne,
    Hd,
    IndexedFaces,
    Json,
    Key,
    Limited,
    LimitOptions,
    OptionalOut,
    OptionalOutHere,
    OptionalPathHere,
    OptionalPlace,
    Out,
    OutHere,
    Place,
    Port,
    Rate,
    Resume,
    ResumeOptions,
    Selected,
    SelectionOptions,
    Service,
    ServiceOptions,
    Verbose,
    parse_indexed_face,
)
from facewarp_async.cli.output import Output
from facewarp_async.cli.run import run

_SERVICE, _SELECTION, _RESUME, _LIMITS = ServiceOptions(), SelectionOptions(), ResumeOptions(), LimitOptions()


def demo(*, out: OutHere = Path("facewarp-demo"), verbose: Verbose = False) -> ExitCode:
    """Try it, without an account: make sample photos, swap their faces on this machine, show before and after.

    Args:
        out: The folder for the photos, the results, contact-sheet.jpg and report.html. It may be used again.
    """
    try:
        from facewarp_async.cli.demo import DemoCommand
    except ModuleNotFoundError as error:
        Output().warn(f"the demo swaps faces with {error.name}: pip install 'facewarp-async[cli,local]'")
        return ExitCode.USAGE
    return run(DemoCommand(folder=out), verbose=verbose)


def swap(
    media: Place, face: Place, /, *, out: OptionalOut = None, hd: Hd = False, service: Service = _SERVICE
) -> ExitCode:
    """Put a face into one picture or video, and print the path of the result.

    Args:
        media: The picture or video to change: a path, or a URL such as s3://bucket/key.
        face: A picture of the face to put in; likewise.
        out: A file to write, or a folder (an existing one, or a name without an extension). In a folder the result is
            called like the media with -swapped behind it, and no file is replaced. May be a URL, such as
            s3://bucket/folder. Without this: the current folder.
    """
    from facewarp_async.cli.swap import SwapCommand

    command = SwapCommand(media=media, faces=face, out=out, hd=hd, service=service)
    return run(command, verbose=service.verbose)


def faces(media: Place, /, *, out: Out = Path(), json: Json = False, service: Service = _SERVICE) -> ExitCode:
    """Find the faces in a picture or video, save them, and print for each its index, its file and its five points.

    The points are the eyes, the nose and the corners of the mouth, in pixels of the file. The index is for multi.

    Args:
        media: The picture or video.
        out: The folder for the faces, which are called like the media with -face- and the index behind it. No file is
            replaced.
        json: Print an object a line for each face: index, path, width, height, kps.
    """
    from facewarp_async.cli.faces import FacesCommand

    command = FacesCommand(media=media, out=out, as_json=json, service=service)
    return run(command, verbose=service.verbose)


def multi(
    media: Place, /, *, face: IndexedFaces, out: OptionalOut = None, hd: Hd = False, service: Service = _SERVICE
) -> ExitCode:
    """Replace several faces of one picture or video, and print the path of the result. Two tasks are paid for.

    Args:
        media: The picture or video to change.
        face: The face to put in for the one that faces lists under that index. May be given several times.
        out: As for swap.
    """
    from facewarp_async.cli.swap import SwapCommand

    chosen = dict(parse_indexed_face(text) for text in face)
    command = SwapCommand(media=media, faces=chosen, out=out, hd=hd, service=service)
    return run(command, verbose=service.verbose)


def batch(
    folder: OptionalPlace = None,
    /,
    *,
    face: OptionalPlace = None,
    out: Out,
    hd: Hd = False,
    json: Json = False,
    report: OptionalPathHere = None,
    dask: Address | None = None,
    selection: Selected = _SELECTION,
    limits: Limited = _LIMITS,
    resume: Resume = _RESUME,
    service: Service = _SERVICE,
) -> ExitCode:
    """Put a face into all pictures and videos of a folder and of those below it; print the paths of the results.

    A failed file stops no other. Each is told on stderr, with what it cost and what to do.

    Args:
        folder: Where the pictures and videos are: a folder, or a URL such as s3://bucket/folder.
        face: A picture of the face to put in; with --manifest, for the rows that name none.
        out: The folder for the results, which lie there as the media do in theirs; it may be a URL.
        json: Print an object a line for each file, in order: media, status (completed, failed, skipped), path, task_id,
            error (type, code, message, advice, paid), stage, reason, resumed, seconds by stage.
        report: A file to write: one HTML page with before and after, failures, times and costs. See facewarp report.
        dask: Have the workers of a Dask cluster do it: the address of its scheduler, such as tcp://10.0.0.1:8786. All
            of them have to see FOLDER and OUT; what is remembered lies on the scheduler's machine.
    """
    from facewarp_async.cli.batch import BatchCommand

    command = BatchCommand(
        folder=folder,
        face=face,
        out=out,
        hd=hd,
        as_json=json,
        report=report,
        dask=dask,
        selection=selection,
        limits=limits,
        resume=resume,
        service=service,
    )
    return run(command, verbose=service.verbose)


def report(
    folder: Place,
    /,
    *,
    out: OptionalOutHere = None,
    pictures: Literal["auto", "embed", "link"] = "auto",
    state: OptionalPathHere = None,
    verbose: Verbose = False,
) -> ExitCode:
    """Make one HTML page of a batch that has ended, was stopped or interrupted, and print its path.

    Before and after to wipe between, what failed and why, how long each file was at what, calls and tasks, of all runs.

    Args:
        folder: The folder that the batch has written to, or its URL.
        out: The page to write. Without this: report.html in FOLDER, or here if FOLDER is a URL.
        pictures: embed puts small copies of the pictures into the page, so that it can be sent to others (videos stay
            outside); link shows the files where they are; auto embeds up to 200 files, if the extra local is there.
        state: Where the batch was remembered, if its --state said so.
    """
    from facewarp_async.cli.report import ReportCommand

    return run(ReportCommand(folder=folder, page=out, pictures=pictures, state=state), verbose=verbose)


def task(
    task_id: AtLeastNone, /, *, out: OptionalOut = None, json: Json = False, service: Service = _SERVICE
) -> ExitCode:
    """Look at a task that was created before; with --out, wait for its end and fetch its result.

    Args:
        task_id: The number that the service gave it.
        out: A file or a folder for the result, as for swap; for the faces of a detection, a folder.
        json: Print an object: id, status, message, kind; with --out, one for each face of a detection.
    """
    from facewarp_async.cli.task import TaskCommand

    command = TaskCommand(task_id=task_id, out=out, as_json=json, service=service)
    return run(command, verbose=service.verbose)


def serve(
    *,
    port: Port = 0,
    host: Address = "127.0.0.1",
    data_dir: Path | None = None,
    api_key: Key | None = None,
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
    from facewarp_async.cli.serve import ServeCommand

    command = ServeCommand(
        port=port, host=host, data_dir=data_dir, api_key=api_key, rps=rps, credits=credits, workers=workers
    )
    return run(command, verbose=verbose, when_interrupted=ExitCode.DONE)
