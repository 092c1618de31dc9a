"""For the tests of programs that swap faces: a service that needs no network, and files to swap.

With pytest the fixtures ``facewarp_service``, ``facewarp_environ`` and ``facewarp_media`` give them ready-made.
"""

from __future__ import annotations

from facewarp_async.server import (
    API,
    CREATES,
    GET,
    HEAD,
    PUT,
    Creation,
    FailureStyle,
    Fault,
    FaultPlan,
    FaultRule,
    Ledger,
    Progress,
    SeenTask,
)
from facewarp_async.testing.media import MediaFolder, jpeg, mp4, png
from facewarp_async.testing.service import FakeService

__all__ = [
    "API",
    "CREATES",
    "GET",
    "HEAD",
    "PUT",
    "Creation",
    "FailureStyle",
    "FakeService",
    "Fault",
    "FaultPlan",
    "FaultRule",
    "Ledger",
    "MediaFolder",
    "Progress",
    "SeenTask",
    "jpeg",
    "mp4",
    "png",
]
