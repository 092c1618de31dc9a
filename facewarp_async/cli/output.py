"""What a command says: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from rich.console import Console
from rich.text import Text

from facewarp_async.redaction import redact_text
from facewarp_async.text import visible, visible_block
from facewarp_async.urls import Location, RemoteFile

_STDOUT = 1


class Output:
    """Writes for one command.

    Texts are shown as they are: what would steer a terminal is escaped, and no markup is read in them, which is why all
    of them become `Text`.

    Attributes:
        console: The one on stderr.
        animated: Whether stderr is a terminal that bars can be drawn on.
    """

    def __init__(self) -> None:
        self.console: Console = Console(stderr=True, soft_wrap=True)
        self.animated: bool = sys.stderr.isatty() and not self.console.is_dumb_terminal
        self._stdout_is_terminal = sys.stdout.isatty()
        self._stdout_is_open = True

    def say(self, text: str, *, style: str = "") -> None:
        """Write one line to stderr, above the bars if there are any."""
        self.console.print(Text(visible(text), style=style))

    def say_lines(self, text: str, *, style: str = "") -> None:
        """As `say`, but line ends in the text are kept. It must hold no names from elsewhere."""
        self.console.print(Text(visible_block(text), style=style))

    def warn(self, text: str) -> None:
        """Write one line about something that went wrong."""
        self.say(f"facewarp: {text}", style="red")

    async def path(self, path: Location) -> None:
        """Write a path to stdout as a line of its own: its very bytes, but made visible on a terminal."""
        await self.row(path)

    async def row(self, *places: str | Location) -> None:
        """Write texts and paths to stdout as a line, with tabs between them, or spaces on a terminal; as `path`."""
        cells = [str(place) if isinstance(place, RemoteFile) else place for place in places]
        if self._stdout_is_terminal:
            await self._line("  ".join(visible(cell) for cell in cells).encode("utf-8", "replace"))
        else:
            await self._line(b"\t".join(os.fsencode(cell) for cell in cells))

    async def json(self, value: Mapping[str, Any]) -> None:
        """Write an object to stdout as a line of its own, in ASCII."""
        await self._line(json.dumps(value).encode("ascii"))

    async def text(self, text: str) -> None:
        """Write a line to stdout."""
        await self._line(text.encode())

    async def _line(self, line: bytes) -> None:
        if not self._stdout_is_open:
            return
        if self._stdout_is_terminal and self.animated:
            self.console.print(Text(line.decode()))  # the same screen; written past the console it would hit the bars
            return
        try:
            # In a thread, because a pipe may be full. A thread that is stuck there must not hold up an interruption.
            await anyio.to_thread.run_sync(partial(_write_all, line + b"\n"), abandon_on_cancel=True)
        except OSError as error:
            # The work goes on: it is the files that matter, and tasks that were paid for must not be left behind.
            self._stdout_is_open = False
            self.warn(f"stdout cannot be written any more ({error.strerror}): going on without it")


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]


class LogHandler(logging.Handler):
    """Shows log records on stderr, above the bars, without secrets."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self._output.say_lines(redact_text(self.format(record)), style="dim")
        except Exception:  # what logging asks of a handler: its trouble is not the program's
            self.handleError(record)
