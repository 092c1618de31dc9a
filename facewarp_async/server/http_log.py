"""What aiohttp says of connections, fit to be kept."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

http_log: logging.Logger = logging.getLogger("facewarp_async.server.http")


def _without_bytes(record: logging.LogRecord) -> bool:
    """Keep of a request that is no HTTP only that it came.

    aiohttp tells of it as of an error of the service's, with the bytes themselves: a URL's signature or a token may be
    among them.
    """
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    record.msg, record.args = "a request that is no HTTP was refused: %s", (type(error).__name__,)
    record.exc_info = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return http_log.isEnabledFor(logging.DEBUG)


http_log.addFilter(_without_bytes)
