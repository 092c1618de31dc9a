"""Failed jobs in words: what happened, whether it cost anything, what to do next. Pure."""

from __future__ import annotations

from facewarp_async.pipeline import Failed
from facewarp_async.pipeline.advice import cost_text, next_step
from facewarp_async.text import visible


def failure_text(outcome: Failed, *, is_free: bool = False) -> str:
    """Return one line about a failed job.

    Args:
        outcome: What became of it.
        is_free: Whether the service takes no credits, so that there is nothing to say of them.
    """
    error = outcome.error
    media, what = visible(outcome.job.media), visible(error)
    sentences = [what if what.startswith(media) else f"{media}: {what}"]
    if not is_free:
        sentences.append(cost_text(error, outcome.task_id))
    if not error.advice:  # else the error has said it
        sentences.append(next_step(error))
    return ". ".join(sentence.rstrip(".") for sentence in sentences)
