"""Files to and from presigned URLs: streamed, replayable, watched for stalls, never whole in memory."""

from facewarp_async.transfer.progress import ProgressCallback
from facewarp_async.transfer.transfers import READ_BUFFER_BYTES, Transfers

__all__ = ["READ_BUFFER_BYTES", "ProgressCallback", "Transfers"]
