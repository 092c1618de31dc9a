"""``facewarp serve``: the local service, for any client."""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from attrs import frozen

from facewarp_async.cli.exits import ExitCode, UsageError
from facewarp_async.cli.output import Output
from facewarp_async.cli.provider import LOCAL
from facewarp_async.config import ApiKey, Provider


@frozen(kw_only=True)
class ServeCommand:
    """The command, as it was asked for. The attributes are the service's arguments; ``rps`` 0 is no limit."""

    host: str
    port: int
    data_dir: Path | None
    api_key: str | None
    rps: float
    credits: int | None
    workers: int | None

    async def __call__(self, output: Output) -> ExitCode:
        """Run it until it is cancelled."""
        # Not above: no other command needs all of the server.
        from facewarp_async.server import LocalService  # noqa: PLC0415

        service = LocalService(
            data_dir=self.data_dir,
            port=self.port,
            host=self.host,
            api_key=self.api_key,
            requests_per_second=self.rps or None,
            credits=self.credits,
            workers=self.workers,
        )
        async with AsyncExitStack() as running:
            try:
                await running.enter_async_context(service)
            except OSError as error:
                raise UsageError(f"{error.filename or self.data_dir}: cannot be used: {error.strerror}") from error
            await output.text(service.provider.base_url)
            output.say_lines(_guide(service.provider, service.auth, service.page_url))
            await anyio.sleep_forever()
        raise AssertionError  # nothing but a cancellation ends the sleep


def _guide(provider: Provider, key: ApiKey, page_url: str) -> str:
    rate = provider.requests_per_second
    return (
        "the local service is ready; Ctrl-C ends it. To use it from another shell:\n"
        f"  export FACEWARP_PROVIDER={LOCAL}\n"
        f"  export FACEWARP_BASE_URL={shlex.quote(provider.base_url)}\n"
        f"  export FACEWARP_API_KEY={shlex.quote(key.key)}\n"
        f"and then, for example:\n"
        f"  facewarp swap team.jpg me.jpg{'' if rate is None else f' --rps {rate:g}'}\n"
        "To watch it work, open this link; whoever has it gets in:\n"
        f"  {page_url}"
    )
