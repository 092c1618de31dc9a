"""Ending a connection without an answer."""

from __future__ import annotations

import socket
import struct

from aiohttp import web

_LINGER_NONE = struct.pack("ii", 1, 0)


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
