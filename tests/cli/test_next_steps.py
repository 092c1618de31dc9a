"""What a batch says at its end of how to go on."""

from __future__ import annotations

from facewarp_async.cli.resuming import next_steps
from facewarp_async.cli.tally import MOST_NAMES, Tally
from facewarp_async.errors import InDoubtError, NoFaceError, Stage
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import Failed, JobEnded, StageBegun

FETCHING = "paid for and not fetched; facewarp task ID -o FILE fetches each, the service keeps them for 7 days:"


def waiting(*task_ids: int) -> Tally:
    """Return the tally of a batch that ended while these tasks were waited for."""
    tally = Tally()
    for task_id in task_ids:
        job = ImageSwap(f"{task_id}.jpg", "me.jpg")
        tally.count(StageBegun(index=task_id, job=job, stage=Stage.WAIT, task_id=task_id))
    return tally


def doubtful(number: int) -> Tally:
    tally = Tally()
    for index in range(number):
        job = ImageSwap(f"{index}.jpg", "me.jpg")
        failed = Failed(job=job, error=InDoubtError("the answer was lost"), stage=Stage.CREATE)
        tally.count(JobEnded(index=index, outcome=failed))
    return tally


def steps(tally: Tally, *, is_complete: bool = False, has_journal: bool = True, is_free: bool = False) -> list[str]:
    return list(next_steps(tally, is_complete=is_complete, has_journal=has_journal, is_free=is_free))


def test_what_was_paid_for_is_fetched_by_the_next_run() -> None:
    on = "run the same command again to go on"
    keeps = "which it will do: the service keeps results for 7 days"
    assert steps(waiting()) == [on]
    assert steps(waiting(7)) == [f"{on}; 1 task was paid for and not fetched yet, {keeps}"]
    assert steps(waiting(7, 8)) == [f"{on}; 2 tasks were paid for and not fetched yet, {keeps}"]
    assert steps(waiting(7), is_free=True) == [on], "nothing was paid"


def test_without_a_journal_tasks_are_named_and_nothing_is_said_where_there_are_none() -> None:
    assert steps(waiting(7, 8), has_journal=False) == [FETCHING, "  task 7: 7.jpg", "  task 8: 8.jpg"]
    assert steps(waiting(), has_journal=False) == []
    assert steps(waiting(7), has_journal=False, is_free=True) == []


def test_a_batch_that_came_to_its_end_has_nothing_to_go_on_with() -> None:
    assert steps(waiting(), is_complete=True) == []
    assert steps(waiting(), is_complete=True, has_journal=False) == []


def test_of_many_jobs_in_doubt_some_are_named_and_the_others_counted() -> None:
    told = steps(doubtful(MOST_NAMES + 3), is_complete=True)
    assert told[0].endswith(f"for {MOST_NAMES + 3} files:")
    assert told[1 : MOST_NAMES + 1] == [f"  {index}.jpg" for index in range(MOST_NAMES)]
    assert told[MOST_NAMES + 1] == "  and 3 more, told above"
    assert told[MOST_NAMES + 2].endswith("run it again with --in-doubt recreate")
    assert len(told) == MOST_NAMES + 3


def test_jobs_in_doubt_that_are_all_named_leave_none_to_be_counted() -> None:
    told = steps(doubtful(2), is_complete=True, has_journal=False)
    assert told[1:3] == ["  0.jpg", "  1.jpg"]
    assert len(told) == 4
    assert told[3].endswith("perhaps for the second time, run them again")


def test_what_failed_before_is_tried_again_on_request_and_paid_for_again() -> None:
    tally = Tally()
    failed = Failed(job=ImageSwap("a.jpg", "me.jpg"), error=NoFaceError("none"), stage=Stage.WAIT, resumed=True)
    tally.count(JobEnded(index=0, outcome=failed))
    text = "1 failed in an earlier run and were not tried again; --retry-failed does so"
    assert steps(tally, is_complete=True) == [f"{text}, and pays for them again"]
    assert steps(tally, is_complete=True, is_free=True) == [text]
