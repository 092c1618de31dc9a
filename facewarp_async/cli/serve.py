"""``facewarp serve``: the local service, for any client."""

from __future__ import annotations

import shlex
from pathlib import Path

import anyio
from attrs import frozen

from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.output import Output


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

        async with LocalService(
            data_dir=self.data_dir,
            port=self.port,
            host=self.host,
            api_key=self.api_key,
            requests_per_second=self.rps or None,
            credits=self.credits,
            workers=self.workers,
        ) as service:
            await output.text(service.provider.base_url)
            output.say(_guide(service.provider.base_url, service.auth.key))
            await anyio.sleep_forever()
        raise AssertionError  # nothing but a cancellation ends the sleep


def _guide(base_url: str, api_key: str) -> str:
    return (
        "The local service is ready; Ctrl-C ends it. To use it from another shell:\n"
        f"export FACEWARP_BASE_URL={shlex.quote(base_url)}\n"
        f"export FACEWARP_API_KEY={shlex.quote(api_key)}\n"
        "A client makes one call a second unless told otherwise: --rps 0 lifts that."
    )
