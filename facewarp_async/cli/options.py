"""Options that several commands share, and what their values may be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from attrs import frozen
from cyclopts import Group, Parameter, validators

_RESUME = Group("Going on with an earlier run", sort_key=8)
_SERVICE = Group("Service", sort_key=10)


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
        Parameter(
            name="--base-url",
            group=_SERVICE,
            help="Where the service is, if not where its vendor has it, such as one started by facewarp serve.",
        ),
    ] = None
    rps: Annotated[
        float | None,
        Parameter(
            group=_SERVICE,
            validator=_check_rate,
            help="How many calls a second the plan allows; 0: no limit. Vendors allow 1 unless told otherwise.",
        ),
    ] = None
    verbose: Annotated[bool, Parameter(group=_SERVICE, help="Show on stderr what is asked and answered.")] = False


@frozen(kw_only=True)
class ResumeOptions:
    """What is remembered from run to run, and what is made of it."""

    journal: Annotated[
        bool,
        Parameter(
            negative="--no-journal",
            group=_RESUME,
            help="Remember in OUT/.facewarp what was done and paid for, so that the same command goes on where "
            "an earlier one ended.",
        ),
    ] = True
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
            help="Try files again that failed for good in an earlier run; their tasks are paid for again.",
        ),
    ] = False


Resume = Annotated[ResumeOptions, Parameter(name="*")]
Service = Annotated[ServiceOptions, Parameter(name="*")]
Verbose = Annotated[bool, Parameter(help="Show on stderr what is asked and answered.")]
Hd = Annotated[bool, Parameter(help="Ask for high quality.")]
Out = Annotated[Path, Parameter(name=["--out", "-o"])]
OptionalOut = Annotated[Path | None, Parameter(name=["--out", "-o"])]
Rate = Annotated[float, Parameter(validator=_check_rate)]
Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
AtLeastNone = Annotated[int, Parameter(validator=validators.Number(gte=0))]
