"""What is known of a batch beyond the life of the process: crash-safe, and durable before it is acted on."""

from facewarp_async.journal.journal import InDoubtChoice, Journal, JournalLog
from facewarp_async.journal.record import JobRecord, JobState, job_key

__all__ = ["InDoubtChoice", "JobRecord", "JobState", "Journal", "JournalLog", "job_key"]
