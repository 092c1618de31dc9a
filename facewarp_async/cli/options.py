"""Options that several commands share, and what their values may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from attrs import fields_dict, frozen
from cyclopts import Group, Parameter, Token, validators

from facewarp_async.config import Limits
from facewarp_async.errors import ConfigurationError
from facewarp_async.urls import Location, as_location

_SELECTION = Group("Choosing files", sort_key=4)
_LIMITS = Group("Limits", sort_key=6)
_RESUME = Group("Going on with an earlier run", sort_key=8)
_SERVICE = Group("Service", sort_key=10)

_DEFAULTS = Limits()
_MOST_DIGITS = 9


def _as_place(_type: object, tokens: Sequence[Token]) -> Location:
    try:
        return as_location(tokens[0].value)
    except ConfigurationError as error:
        raise ValueError(error.message) from error


def _as_place_here(_type: object, tokens: Sequence[Token]) -> Path:
    place = _as_place(_type, tokens)
    if not isinstance(place, Path):
        raise ValueError(f"{place} is a URL: expected a folder on this machine")
    return place


def _called(metavar: str, **options: Any) -> Parameter:
    """Say what the help calls an option's value; older releases of cyclopts give it no name."""
    if "metavar" in fields_dict(Parameter):
        options["metavar"] = metavar
    return Parameter(**options)


_PLACE = _called("PATH|URL", converter=_as_place, n_tokens=1, accepts_keys=False)
"""A path, or a URL, in which no slash must be lost."""


def _check_rate(_type: object, value: float | None) -> None:
    if value is not None and not (value >= 0 and math.isfinite(value)):
        raise ValueError("must be a number of requests a second, or 0 for no limit")


@frozen(kw_only=True)
class ServiceOptions:
    """Which service to ask, and how to speak of it."""

    provider: Annotated[
        Literal["vidnoz", "miocreate", "local"] | None,
        Parameter(
            group=_SERVICE,
            help="The service. Without this, FACEWARP_PROVIDER says; without credentials it is local: "
            "a service inside this command, which swaps on this machine.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        _called(
            "URL",
            name="--base-url",
            group=_SERVICE,
            help="Where the service is, if not where its vendor has it, such as one started by facewarp serve.",
        ),
    ] = None
    rps: Annotated[
        float | None,
        _called(
            "N",
            group=_SERVICE,
            validator=_check_rate,
            help="How many calls a second the plan allows; 0: no limit. Vendors allow 1 unless told otherwise.",
        ),
    ] = None
    verbose: Annotated[
        bool, Parameter(group=_SERVICE, show_default=False, help="Show on stderr what is asked and answered.")
    ] = False


@frozen(kw_only=True)
class ResumeOptions:
    """What is remembered from run to run, and what is made of it."""

    journal: Annotated[
        bool,
        Parameter(
            negative="--no-journal",
            group=_RESUME,
            help="Remember in OUT/.facewarp what was done and paid for, so that the same command goes on where "
            "an earlier one ended. If OUT is a URL: on this machine, in a folder for that URL in the user's directory "
            "for the state of programs.",
        ),
    ] = True
    state: Annotated[
        Path | None,
        Parameter(
            group=_RESUME,
            converter=_as_place_here,
            n_tokens=1,
            help="Remember in this folder instead. Each OUT needs one of its own.",
        ),
    ] = None
    in_doubt: Annotated[
        Literal["hold", "recreate"] | None,
        Parameter(
            group=_RESUME,
            help="What to do about tasks that may have been created and paid for, because an earlier run ended before "
            "it had the answer: hold leaves them and names them, recreate creates them, perhaps for the second time. "
            "Without this: hold, but recreate with the service inside this command, which takes no credits.",
        ),
    ] = None
    retry_failed: Annotated[
        bool,
        Parameter(
            group=_RESUME,
            show_default=False,
            help="Try files again that failed for good in an earlier run; their tasks are paid for again.",
        ),
    ] = False


@frozen(kw_only=True)
class SelectionOptions:
    """Which files a batch is about."""

    manifest: Annotated[
        Location | None,
        _called(
            "PATH|URL",
            group=_SELECTION,
            converter=_as_place,
            n_tokens=1,
            accepts_keys=False,
            help="Instead of FOLDER: a file that lists the media, as CSV with a header or as JSON lines. Its columns "
            "are media, face or faces (0=a.jpg;2=b.jpg), kind (image, video, multi), hd and name; media must be there.",
        ),
    ] = None
    include: Annotated[
        list[str] | None,
        _called(
            "GLOB",
            group=_SELECTION,
            help="Take only the files that this pattern fits, such as *.jpg, or holiday/*.png with a path below "
            "FOLDER. May be given several times.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        _called("GLOB", group=_SELECTION, help="Leave out the files and folders that this pattern fits; as --include."),
    ] = None
    recursive: Annotated[
        bool, Parameter(negative="--no-recursive", group=_SELECTION, help="Go into the folders below.")
    ] = True


@frozen(kw_only=True)
class LimitOptions:
    """How much a batch may do, and how much of it at once."""

    dry_run: Annotated[
        bool,
        Parameter(
            group=_LIMITS,
            show_default=False,
            help="Print what would be sent, created and paid for, and how long it takes; do nothing.",
        ),
    ] = False
    max_credits: Annotated[
        int | None,
        _called(
            "N",
            group=_LIMITS,
            validator=validators.Number(gte=0),
            help="Stop, with exit code 3, before more than so many tasks were created in this run.",
        ),
    ] = None
    uploads: Annotated[
        int,
        _called("N", group=_LIMITS, validator=validators.Number(gte=1), help="How many files are sent at once."),
    ] = _DEFAULTS.uploads
    in_flight: Annotated[
        int,
        _called("N", group=_LIMITS, validator=validators.Number(gte=1), help="How many tasks are under way at once."),
    ] = _DEFAULTS.in_flight
    downloads: Annotated[
        int,
        _called("N", group=_LIMITS, validator=validators.Number(gte=1), help="How many results are fetched at once."),
    ] = _DEFAULTS.downloads

    @property
    def at_once(self) -> Limits:
        """How much goes on at once."""
        return Limits(uploads=self.uploads, in_flight=self.in_flight, downloads=self.downloads)


def parse_indexed_face(text: str) -> tuple[int, Location]:
    """Read ``0=face.jpg``.

    Raises:
        ValueError: It is something else.
    """
    index, separator, path = text.partition("=")
    if not (separator and path and index.isdecimal() and len(index) < _MOST_DIGITS):
        raise ValueError(f"{text!r}: expected the index of a face, = and a file, such as 0=me.jpg")
    return int(index), as_location(path)


def _check_faces(_type: object, values: list[str]) -> None:
    indices = [parse_indexed_face(text)[0] for text in values]
    if len(set(indices)) < len(indices):
        raise ValueError("names a face twice")


Selected = Annotated[SelectionOptions, Parameter(name="*")]
Limited = Annotated[LimitOptions, Parameter(name="*")]
IndexedFaces = Annotated[list[str], _called("INDEX=FILE", validator=_check_faces, show_default=False)]
Json = Annotated[bool, Parameter(name="--json", show_default=False)]
Resume = Annotated[ResumeOptions, Parameter(name="*")]
Service = Annotated[ServiceOptions, Parameter(name="*")]
Verbose = Annotated[bool, Parameter(show_default=False, help="Show on stderr what is asked and answered.")]
Hd = Annotated[bool, Parameter(show_default=False, help="Ask for high quality.")]
Place = Annotated[Location, _PLACE]
OptionalPlace = Annotated[Location | None, _PLACE]
Out = Annotated[Location, _PLACE, Parameter(name=["--out", "-o"])]
OptionalOut = Annotated[Location | None, _PLACE, Parameter(name=["--out", "-o"])]
OutHere = Annotated[Path, Parameter(name=["--out", "-o"], converter=_as_place_here, n_tokens=1)]
OptionalOutHere = Annotated[Path | None, Parameter(name=["--out", "-o"], converter=_as_place_here, n_tokens=1)]
OptionalPathHere = Annotated[Path | None, Parameter(converter=_as_place_here, n_tokens=1)]
Rate = Annotated[float, _called("N", validator=_check_rate)]
Port = Annotated[int, _called("N", validator=validators.Number(gte=0, lte=65535))]
Address = Annotated[str, _called("ADDRESS")]
Key = Annotated[str, _called("KEY")]
AtLeastOne = Annotated[int, _called("N", validator=validators.Number(gte=1))]
AtLeastNone = Annotated[int, _called("N", validator=validators.Number(gte=0))]
