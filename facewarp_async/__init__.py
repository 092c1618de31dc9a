"""Asyncio SDK and pipeline for the Vidnoz and MioCreate face swap API.

`FaceSwapClient` makes single swaps, `SwapPipeline` runs many. `facewarp_async.server.LocalService` speaks the same
protocol without an account.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facewarp_async.client import FaceSwapClient
    from facewarp_async.config import (
        MIOCREATE,
        VIDNOZ,
        ApiKey,
        ClientCredentials,
        Credentials,
        Limits,
        PairOrder,
        Provider,
        Timeouts,
    )
    from facewarp_async.errors import (
        AuthenticationError,
        BadRequestError,
        BatchStoppedError,
        ClusterError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        CreditsExhaustedError,
        DiskFullError,
        EmptyFileError,
        FacePolicyError,
        FaceWarpError,
        FileChangedError,
        FileTooLargeError,
        HttpError,
        IncompleteTransferError,
        InDoubtError,
        InputError,
        JournalCorruptError,
        JournalError,
        JournalInUseError,
        MalformedAnswerError,
        MediaPolicyError,
        MissingExtraError,
        MissingFileError,
        MultipleFacesError,
        NoFaceError,
        OutputError,
        RateLimitedError,
        Recovery,
        RequestTimeoutError,
        ResultGoneError,
        ServerError,
        ServiceError,
        SourceNotFoundError,
        Stage,
        StorageError,
        TaskFailedError,
        TaskTimeoutError,
        TransportError,
        UnsupportedFormatError,
        UploadRejectedError,
        UrlExpiredError,
    )
    from facewarp_async.models import (
        Asset,
        DetectFaces,
        Face,
        FaceDetection,
        ImageResult,
        ImageSwap,
        Job,
        MediaType,
        MultiFaceSwap,
        Picture,
        Point,
        Result,
        SwapResult,
        Task,
        TaskKind,
        TaskStatus,
        UploadGrant,
        VideoResult,
        VideoSwap,
    )
    from facewarp_async.pipeline import (
        BatchReport,
        BytesSent,
        Completed,
        Event,
        Failed,
        JobEnded,
        Outcome,
        OutcomeStream,
        Skipped,
        StageBegun,
        SwapPipeline,
    )
    from facewarp_async.policy.learning import LearntPolling
    from facewarp_async.policy.polling import FixedPolling, PollPolicy, TimeLeft
    from facewarp_async.policy.retry import RetryPolicy
    from facewarp_async.sources import FolderJobs, ManifestJobs, jobs_from_folder, jobs_from_manifest
    from facewarp_async.urls import RemoteFile

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the application wants to hear

_HOMES = {
    "client": "FaceSwapClient",
    "config": "MIOCREATE VIDNOZ ApiKey ClientCredentials Credentials Limits PairOrder Provider Timeouts",
    "errors": """
        AuthenticationError BadRequestError BatchStoppedError ClusterError ConfigurationError ConnectError
        ConnectionLostError CreditsExhaustedError DiskFullError EmptyFileError FacePolicyError FaceWarpError
        FileChangedError FileTooLargeError HttpError IncompleteTransferError InDoubtError InputError
        JournalCorruptError JournalError JournalInUseError MalformedAnswerError MediaPolicyError
        MissingExtraError MissingFileError MultipleFacesError NoFaceError OutputError RateLimitedError Recovery
        RequestTimeoutError ResultGoneError ServerError ServiceError SourceNotFoundError Stage StorageError
        TaskFailedError TaskTimeoutError TransportError UnsupportedFormatError UploadRejectedError
        UrlExpiredError
    """,
    "models": """
        Asset DetectFaces Face FaceDetection ImageResult ImageSwap Job MediaType MultiFaceSwap Picture Point Result
        SwapResult Task TaskKind TaskStatus UploadGrant VideoResult VideoSwap
    """,
    "pipeline": """
        BatchReport BytesSent Completed Event Failed JobEnded Outcome OutcomeStream Skipped StageBegun SwapPipeline
    """,
    "policy.learning": "LearntPolling",
    "policy.polling": "FixedPolling PollPolicy TimeLeft",
    "policy.retry": "RetryPolicy",
    "sources": "FolderJobs ManifestJobs jobs_from_folder jobs_from_manifest",
    "urls": "RemoteFile",
}
"""Where the public names live. A module is imported when one of its names is first asked for: starting stays cheap."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "MIOCREATE",
    "VIDNOZ",
    "ApiKey",
    "Asset",
    "AuthenticationError",
    "BadRequestError",
    "BatchReport",
    "BatchStoppedError",
    "BytesSent",
    "ClientCredentials",
    "ClusterError",
    "Completed",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "Credentials",
    "CreditsExhaustedError",
    "DetectFaces",
    "DiskFullError",
    "EmptyFileError",
    "Event",
    "Face",
    "FaceDetection",
    "FacePolicyError",
    "FaceSwapClient",
    "FaceWarpError",
    "Failed",
    "FileChangedError",
    "FileTooLargeError",
    "FixedPolling",
    "FolderJobs",
    "HttpError",
    "ImageResult",
    "ImageSwap",
    "InDoubtError",
    "IncompleteTransferError",
    "InputError",
    "Job",
    "JobEnded",
    "JournalCorruptError",
    "JournalError",
    "JournalInUseError",
    "LearntPolling",
    "Limits",
    "MalformedAnswerError",
    "ManifestJobs",
    "MediaPolicyError",
    "MediaType",
    "MissingExtraError",
    "MissingFileError",
    "MultiFaceSwap",
    "MultipleFacesError",
    "NoFaceError",
    "Outcome",
    "OutcomeStream",
    "OutputError",
    "PairOrder",
    "Picture",
    "Point",
    "PollPolicy",
    "Provider",
    "RateLimitedError",
    "Recovery",
    "RemoteFile",
    "RequestTimeoutError",
    "Result",
    "ResultGoneError",
    "RetryPolicy",
    "ServerError",
    "ServiceError",
    "Skipped",
    "SourceNotFoundError",
    "Stage",
    "StageBegun",
    "StorageError",
    "SwapPipeline",
    "SwapResult",
    "Task",
    "TaskFailedError",
    "TaskKind",
    "TaskStatus",
    "TaskTimeoutError",
    "TimeLeft",
    "Timeouts",
    "TransportError",
    "UnsupportedFormatError",
    "UploadGrant",
    "UploadRejectedError",
    "UrlExpiredError",
    "VideoResult",
    "VideoSwap",
    "jobs_from_folder",
    "jobs_from_manifest",
]


def _fetch(name: str) -> Any:
    if name in _HOMES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


if not TYPE_CHECKING:  # a checker would take any name for one of ours
    __getattr__ = _fetch


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
