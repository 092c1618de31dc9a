"""The local service: speaks the vendors' protocol on this machine and really swaps faces."""

from __future__ import annotations

from facewarp_async.server.details import FailureStyle
from facewarp_async.server.faults import API, CREATES, EVERYWHERE, GET, HEAD, PASSING, PUT, Fault, FaultPlan, FaultRule
from facewarp_async.server.ledger import Creation, Ledger
from facewarp_async.server.overview import SeenTask
from facewarp_async.server.records import Progress
from facewarp_async.server.runners import EngineRunner, InstantRunner, ProcessRunner, Runner
from facewarp_async.server.service import LocalService
from facewarp_async.server.work import (
    FacePlan,
    Landmarks,
    Made,
    MadeFace,
    MadeFaces,
    MadeImage,
    MadePicture,
    MadeVideo,
    Work,
    WorkError,
)

__all__ = [
    "API",
    "CREATES",
    "EVERYWHERE",
    "GET",
    "HEAD",
    "PASSING",
    "PUT",
    "Creation",
    "EngineRunner",
    "FacePlan",
    "FailureStyle",
    "Fault",
    "FaultPlan",
    "FaultRule",
    "InstantRunner",
    "Landmarks",
    "Ledger",
    "LocalService",
    "Made",
    "MadeFace",
    "MadeFaces",
    "MadeImage",
    "MadePicture",
    "MadeVideo",
    "ProcessRunner",
    "Progress",
    "Runner",
    "SeenTask",
    "Work",
    "WorkError",
]
