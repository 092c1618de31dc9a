"""Every error that the package raises on purpose.

::

    FaceWarpError
    ├── ConfigurationError          credentials or options are missing or wrong
    │   └── MissingExtraError       an optional dependency is not installed
    ├── InputError                  a file of the user's cannot be used
    │   ├── MissingFileError
    │   ├── EmptyFileError
    │   ├── FileChangedError        it changed or shrank while it was sent
    │   ├── UnsupportedFormatError  703
    │   └── FileTooLargeError       704
    ├── OutputError                 a result cannot be written
    │   └── DiskFullError
    ├── JournalError                the journal of a batch cannot be read or written
    │   ├── JournalInUseError       another process works with it
    │   └── JournalCorruptError
    ├── ClusterError                the Dask cluster that runs the batch cannot be used, or was lost
    ├── ServiceError                the service answered with a code other than 200
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── ServerError             500
    │   ├── TaskFailedError         601, and a task that ended without a result
    │   │   ├── NoFaceError         602
    │   │   ├── MultipleFacesError  603
    │   │   ├── MediaPolicyError    604
    │   │   └── FacePolicyError     605
    │   ├── UploadRejectedError     701
    │   │   └── SourceNotFoundError 702
    │   │       └── ResultGoneError
    │   ├── CreditsExhaustedError   801
    │   └── RateLimitedError        802, or HTTP 429
    ├── HttpError                   an answer without the service's envelope
    │   └── MalformedAnswerError    a success that cannot be read
    ├── StorageError                the storage behind a presigned URL refused
    │   └── UrlExpiredError
    ├── TransportError              no answer
    │   ├── ConnectError            the connection was never made: nothing was sent
    │   ├── ConnectionLostError     it was cut after the request may have left
    │   ├── RequestTimeoutError
    │   └── IncompleteTransferError a body ended early or stalled
    ├── TaskTimeoutError            the task did not end in time; it may still do
    ├── InDoubtError                a task may have been created and paid for
    └── BatchStoppedError           the batch ended before the job's task was created
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import ClassVar, Self


class Stage(StrEnum):
    """Where on its way a job was."""

    CHECK = "check"
    UPLOAD = "upload"
    CREATE = "create"
    WAIT = "wait"
    DOWNLOAD = "download"


class Recovery(Enum):
    """What can be done about an error."""

    REPEAT = "repeat"
    """The same request may succeed later, where it is safe to repeat."""
    UPLOAD_AGAIN = "upload again"
    """The file has to be uploaded anew."""
    GIVE_UP = "give up"
    """The job cannot succeed as it is; others can."""
    STOP_BATCH = "stop the batch"
    """No other job of the batch could succeed either."""
    ASK = "ask"
    """Only the user can decide, because money may be spent twice."""


class FaceWarpError(Exception):
    """The root of all errors of this package.

    Attributes:
        message: What happened, without code and advice. Holds no secret and no URL signature.
        code: The protocol's code, where the service gave one or the package found the reason itself.
        http_status: The HTTP status of the answer, where there was one.
        task_id: The service's task, where one had been created: it stays valid and may hold a result that was paid for.
        job: The job that failed, where a pipeline ran it.
        stage: Where on its way the job was.
        retry_after_s: How long the service asked to wait, in seconds.
    """

    recovery: Recovery = Recovery.GIVE_UP
    advice: ClassVar[str] = ""
    default_code: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        task_id: int | None = None,
        job: object | None = None,
        stage: Stage | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code: int | None = self.default_code if code is None else code
        self.http_status = http_status
        self.task_id = task_id
        self.job = job
        self.stage = stage
        self.retry_after_s = retry_after_s

    def __copy__(self) -> Self:
        # Dask's tracebacks teach `copy.copy` to let the copies of exceptions share their attributes.
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other

    @property
    def paid(self) -> bool | None:
        """Whether a task was created for the job, which is what costs credits; ``None`` where that is in doubt."""
        return self.task_id is not None

    def __str__(self) -> str:
        facts = [f"code {self.code}"] if self.code is not None else []
        if self.http_status is not None and self.http_status != 200:
            facts.append(f"HTTP {self.http_status}")
        if self.task_id is not None:
            facts.append(f"task {self.task_id}")
        text = self.message + (f" ({', '.join(facts)})" if facts else "")
        return f"{text}. {self.advice}" if self.advice else text


class ConfigurationError(FaceWarpError):
    """Credentials or options are missing or contradict each other. To do: set what the message names."""


class MissingExtraError(ConfigurationError):
    """A feature needs an optional dependency that is not installed. To do: install the extra that the message names."""


class InputError(FaceWarpError):
    """A file cannot be used, as it shows before any call, or as the service says. To do: give another file."""


class MissingFileError(InputError):
    """The file does not exist, is no regular file, or may not be read."""


class EmptyFileError(InputError):
    """The file has no bytes."""


class FileChangedError(InputError):
    """The file changed or shrank while it was being sent."""

    advice = "Run it again once nothing writes to the file"


class UnsupportedFormatError(InputError):
    """Code 703: the file is none of JPG, PNG, WEBP, GIF, M4V, MP4, MOV and WEBM."""

    default_code: ClassVar[int | None] = 703


class FileTooLargeError(InputError):
    """Code 704: the file has more than 500 MB."""

    default_code: ClassVar[int | None] = 704


class OutputError(FaceWarpError):
    """A result cannot be written; it stays with the service for 7 days. To do: fetch it by the task's id."""


class DiskFullError(OutputError):
    """The disk or the quota is full; what was paid for stays with the service for 7 days."""

    recovery = Recovery.STOP_BATCH
    advice = "Free some space and run it again"


class JournalError(FaceWarpError):
    """A batch's journal cannot be read or written, so nothing may be created. To do: see to the disk, run it again."""

    recovery = Recovery.STOP_BATCH


class JournalInUseError(JournalError):
    """Another process, or another pipeline of this one, works with the journal. To do: wait until it has ended."""


class JournalCorruptError(JournalError):
    """No journal, a damaged one, or of a later version. Left alone. To do: restore it; without it all is paid anew."""


class ClusterError(FaceWarpError):
    """The batch's Dask cluster cannot be used, or was lost. To do: see to the cluster, then run it again to go on."""

    recovery = Recovery.STOP_BATCH


class ServiceError(FaceWarpError):
    """The service answered with a code other than 200. To do: see the message."""


class BadRequestError(ServiceError):
    """Code 400: a parameter of the request is wrong. To do: see the message; tell the vendor if it stays."""

    default_code: ClassVar[int | None] = 400


class AuthenticationError(ServiceError):
    """Code 401: the token is invalid or expired and could not be renewed."""

    default_code: ClassVar[int | None] = 401
    recovery = Recovery.STOP_BATCH
    advice = "Check the API key or the client id and secret"


class ServerError(ServiceError):
    """Code 500: the service had an exception. To do: run it again; what is safe to repeat was repeated."""

    default_code: ClassVar[int | None] = 500
    recovery = Recovery.REPEAT


class TaskFailedError(ServiceError):
    """Code 601, an unknown status, or a task that ended without a result. To do: see the message; a new one is paid."""


class NoFaceError(TaskFailedError):
    """Code 602: no face was found. To do: give a picture that shows a face clearly, upright and from the front."""

    default_code: ClassVar[int | None] = 602


class MultipleFacesError(TaskFailedError):
    """Code 603: several faces where one is expected."""

    default_code: ClassVar[int | None] = 603
    advice = "Name the faces to change: facewarp multi, or MultiFaceSwap (swap_faces)"


class MediaPolicyError(TaskFailedError):
    """Code 604: the media may break the vendor's policy. Never sent again. To do: give other media."""

    default_code: ClassVar[int | None] = 604


class FacePolicyError(TaskFailedError):
    """Code 605: the photo of the face may break the vendor's policy. Never sent again. To do: give another photo."""

    default_code: ClassVar[int | None] = 605


class UploadRejectedError(ServiceError):
    """Code 701: the service has trouble with a file, which was uploaded once more. To do: look at the file."""

    default_code: ClassVar[int | None] = 701
    recovery = Recovery.UPLOAD_AGAIN


class SourceNotFoundError(UploadRejectedError):
    """Code 702: the service does not know the key; uploads are deleted in time. To do: give the file, not a key."""

    default_code: ClassVar[int | None] = 702


class ResultGoneError(SourceNotFoundError):
    """Code 702 for a key whose URL was asked for: the service has deleted what it named. To do: make it anew."""

    recovery = Recovery.GIVE_UP
    advice = "Uploads and results are deleted in time: make it anew, which for a result is paid for again"


class CreditsExhaustedError(ServiceError):
    """Code 801: not enough credits."""

    default_code: ClassVar[int | None] = 801
    recovery = Recovery.STOP_BATCH
    advice = "Buy credits and run it again"


class RateLimitedError(ServiceError):
    """Code 802 or HTTP 429: too many requests. The service did not act. To do: lower the rate, run it again."""

    default_code: ClassVar[int | None] = 802
    recovery = Recovery.REPEAT


class HttpError(FaceWarpError):
    """An answer without the service's envelope, such as a gateway's page. To do: run it again; check the base URL.

    Attributes:
        body_start: The first bytes of the body, redacted.
    """

    def __init__(self, message: str, *, body_start: str = "", http_status: int | None = None) -> None:
        super().__init__(message, http_status=http_status)
        self.body_start = body_start
        if http_status is not None and (http_status >= 500 or http_status == 408):
            self.recovery = Recovery.REPEAT


class MalformedAnswerError(HttpError):
    """A success that cannot be read; the message names the place. To do: run it again; tell the vendor if it stays."""

    recovery = Recovery.REPEAT


class StorageError(FaceWarpError):
    """The storage behind a presigned URL refused. To do: run it again; a result is fetched by its task's id.

    Attributes:
        storage_code: The code in the storage's XML answer, such as ``SignatureDoesNotMatch``; empty without one.
    """

    def __init__(self, message: str, *, storage_code: str = "", http_status: int | None = None) -> None:
        super().__init__(message, http_status=http_status)
        self.storage_code = storage_code
        if http_status is not None and (http_status >= 500 or http_status in {408, 429}):
            self.recovery = Recovery.REPEAT


class UrlExpiredError(StorageError):
    """The presigned URL is past its expiry or was refused: a new one has to be asked for."""


class TransportError(FaceWarpError):
    """There was no complete answer. To do: run it again; what is safe to repeat was repeated."""

    recovery = Recovery.REPEAT


class ConnectError(TransportError):
    """The connection was never made, so nothing was sent."""


class ConnectionLostError(TransportError):
    """The connection was cut after the request may have left."""


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer in time."""


class IncompleteTransferError(TransportError):
    """A body ended before its announced length, or no byte moved for too long."""


class TaskTimeoutError(FaceWarpError, TimeoutError):
    """The task did not end within the time allowed. It goes on at the service; ``task_id`` fetches it later."""

    advice = "The task was paid for and may still finish: ask for it again by its id"


class InDoubtError(FaceWarpError):
    """The answer to a create was lost: the task may exist and be paid for, and cannot be looked up."""

    recovery = Recovery.ASK
    advice = "It was not sent again, because that could pay twice; check your account before you repeat it"

    @property
    def paid(self) -> bool | None:
        """Always ``None``: nobody but the service knows."""
        return None


class BatchStoppedError(FaceWarpError):
    """Another job's error stopped the batch before this job's task was created. To do: see to that, run it again."""

    recovery = Recovery.STOP_BATCH
