"""Which service a command speaks to, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
from attrs import frozen

from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import (
    LOCAL_NAME,
    PROVIDERS,
    VIDNOZ,
    Credentials,
    Provider,
    credentials_from_env,
    local_provider,
)
from facewarp_async.errors import ConfigurationError
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.spending import CappedClient

LOCAL: Final = LOCAL_NAME
_EAGER = FixedPolling(image_s=0.3, video_s=1.0, longest_s=1.0)
"""For a service on this machine without a limit: looks cost next to nothing, and none is worth waiting for."""
_CREDENTIALS = ("FACEWARP_API_KEY", "FACEWARP_CLIENT_ID", "FACEWARP_CLIENT_SECRET")


@frozen
class Remote:
    """A service that runs already."""

    provider: Provider
    credentials: Credentials


@frozen
class Embedded:
    """A local service that runs as long as the command does.

    Attributes:
        requests_per_second: How fast the client may ask it; ``None``: no limit.
        is_chosen: Whether it was asked for by name.
    """

    requests_per_second: float | None = None
    is_chosen: bool = False


def choose_service(options: ServiceOptions, environ: Mapping[str, str]) -> Remote | Embedded:
    """Say which service the options and the environment mean; an option outweighs the environment.

    A base URL is a service that runs already, whatever its name. ``--provider`` alone means that vendor's own address,
    also where the environment has another.

    Raises:
        ConfigurationError: The provider's name is not known, or the credentials are missing.
    """
    base_url = options.base_url or (None if options.provider else environ.get("FACEWARP_BASE_URL"))
    name = options.provider or (environ.get("FACEWARP_PROVIDER") or "").lower()
    has_credentials = any(environ.get(variable) for variable in _CREDENTIALS)
    if not base_url and (name == LOCAL or not (name or has_credentials)):
        return Embedded(options.rps or None, is_chosen=name == LOCAL)
    provider = _paced(_provider(name, base_url), options.rps)
    try:
        return Remote(provider, credentials_from_env(environ))
    except ConfigurationError as error:
        raise ConfigurationError(f"{provider.name} at {provider.base_url}: {error.message}") from error


def _provider(name: str, base_url: str | None) -> Provider:
    if base_url and name == LOCAL:  # one that facewarp serve has started: it is quick, and limited only if told to be
        return local_provider(base_url)
    if base_url:
        vendor = PROVIDERS.get(name)
        return Provider(name or "custom", base_url) if vendor is None else attrs.evolve(vendor, base_url=base_url)
    if name and name not in PROVIDERS:
        known = ", ".join([*PROVIDERS, LOCAL])
        raise UsageError(f"FACEWARP_PROVIDER is {name!r}: expected one of {known}, or set FACEWARP_BASE_URL")
    return PROVIDERS[name or VIDNOZ.name]


def _paced(provider: Provider, rps: float | None) -> Provider:
    return provider if rps is None else attrs.evolve(provider, requests_per_second=rps or None)


def _make_client(provider: Provider, credentials: Credentials, most_tasks: int | None) -> FaceSwapClient:
    is_eager = provider.name == LOCAL and provider.requests_per_second is None
    return CappedClient(provider, credentials, poll_policy=_EAGER if is_eager else "learnt", most_tasks=most_tasks)


@asynccontextmanager
async def open_client(
    service: Remote | Embedded, output: Output, *, data_dir: Path | None = None, most_tasks: int | None = None
) -> AsyncIterator[FaceSwapClient]:
    """Give a client for a service, and start that service where it is the embedded one.

    Args:
        service: From `choose_service`.
        output: Is told that nothing leaves this machine.
        data_dir: Where the embedded service keeps its files and tasks; ``None``: it forgets them at the end.
        most_tasks: How many tasks may be created; ``None``: any number.

    Raises:
        ConfigurationError: The data directory cannot be used.
        MissingExtraError: The embedded service needs the extra ``local``.
    """
    if isinstance(service, Remote):
        async with _make_client(service.provider, service.credentials, most_tasks) as client:
            yield client
        return
    async with _embedded_client(service, data_dir, most_tasks) as client:
        reason = "" if service.is_chosen else f"no {_CREDENTIALS[0]} is set: "
        output.say(f"{reason}swapping locally, nothing leaves this machine", style="dim")
        yield client


@asynccontextmanager
async def _embedded_client(
    embedded: Embedded, data_dir: Path | None, most_tasks: int | None
) -> AsyncIterator[FaceSwapClient]:
    # Not above: a command that speaks to a vendor has no use for it.
    from facewarp_async.server import LocalService  # noqa: PLC0415

    async with AsyncExitStack() as running:
        try:
            service = await running.enter_async_context(LocalService(data_dir=data_dir))
        except OSError as error:
            raise UsageError(f"{error.filename or data_dir}: cannot be used: {error.strerror}") from error
        provider = attrs.evolve(service.provider, requests_per_second=embedded.requests_per_second)
        yield await running.enter_async_context(_make_client(provider, service.auth, most_tasks))
