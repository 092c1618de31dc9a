"""What is known of a batch beyond the life of the process: crash-safe, and durable before it is acted on."""

from facewarp_async.journal.journal import InDoubtChoice, JobJournal, Journal, JournalLog
from facewarp_async.journal.record import JobRecord, JobState, job_key
from facewarp_async.journal.runs import Ending, RunRecord
from facewarp_async.journal.steps import Step, TimedStep, parse_steps

__all__ = [
    "Ending",
    "InDoubtChoice",
    "JobJournal",
    "JobRecord",
    "JobState",
    "Journal",
    "JournalLog",
    "RunRecord",
    "Step",
    "TimedStep",
    "job_key",
    "parse_steps",
]
