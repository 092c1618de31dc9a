"""What aiohttp leaves to us of a connection: what comes before a body, and an end without an answer."""

from __future__ import annotations

import socket
import struct

from aiohttp import HttpVersion11, web

_LINGER_NONE = struct.pack("ii", 1, 0)


async def meet_expectation(request: web.BaseRequest) -> None:
    """Let a body come that the client holds back. aiohttp's own way fails on an ``Expect`` that is no text.

    Raises:
        web.HTTPExpectationFailed: The client expects something else.
    """
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # this was no part of the answer


def reset(request: web.BaseRequest) -> web.Response:
    """Reset a request's connection: what is under way is lost, and the client gets a TCP reset.

    Returns:
        An answer to hand to aiohttp, which nobody will hear.
    """
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        transport.abort()
    return web.Response()


def cut(request: web.BaseRequest) -> None:
    """Close a request's connection after what was written has left."""
    if request.transport is not None:
        request.transport.close()
