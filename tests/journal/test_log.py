"""One job's way into the journal: what each step writes down, and what is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from facewarp_async.errors import InDoubtError, NoFaceError, Stage
from facewarp_async.journal import InDoubtChoice, JobRecord, JobState, Journal, JournalLog, parse_steps
from facewarp_async.models import ImageResult, TaskKind

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., JobRecord]

SWAP, DETECTION = TaskKind.IMAGE_SWAP, TaskKind.FACE_DETECTION
RESULT = ImageResult(task_id=7, key="7.png", url="")
ERROR = NoFaceError("nobody there")


class Written(Journal):
    """A journal without a file, which keeps copies of what is written, and of what nobody waits for."""

    def __init__(self) -> None:
        super().__init__("none", realm="r")
        self.all: list[JobRecord] = []
        self.posted: list[JobRecord] = []

    async def write(self, record: JobRecord) -> None:
        self.all.append(evolve(record, tasks=dict(record.tasks)))

    def post(self, record: JobRecord) -> None:
        self.posted.append(evolve(record, tasks=dict(record.tasks)))


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def make_log(written: Written, make_record: MakeRecord) -> Callable[..., JournalLog]:
    """Make the log of a job whose record has these values."""

    def make(*, in_doubt: InDoubtChoice = "hold", begun: Any = None, **values: Any) -> JournalLog:
        return JournalLog(written, make_record(**values), in_doubt=in_doubt, begun=begun)

    return make


MakeLog = Callable[..., JournalLog]


def steps(record: JobRecord) -> str:
    return "".join(each.step for each in parse_steps(record.steps))


async def test_a_job_comes_through_its_states_and_each_is_written_down(make_log: MakeLog, written: Written) -> None:
    begun = [(Stage.CHECK, 1.0), (Stage.UPLOAD, 2.0)]
    log = make_log(begun=begun)
    await log.uploaded()
    await log.uploaded()  # once is enough
    begun.append((Stage.CREATE, 3.0))
    await log.intent(SWAP)
    await log.created(SWAP, 7)
    begun.append((Stage.WAIT, 4.0))
    await log.done(RESULT, path="a.png", size=5, digest=b"digest")
    assert [(record.state, record.pending, record.tasks, steps(record)) for record in written.all] == [
        (JobState.UPLOADED, None, {}, "cu"),
        (JobState.INTENT, SWAP, {}, "cun"),
        (JobState.CREATED, None, {SWAP: 7}, "cunt"),
        (JobState.DONE, None, {SWAP: 7}, "cuntwe"),
    ]
    done = written.all[-1]
    assert (done.created, done.result, done.path, done.size, done.digest) == (1, RESULT, "a.png", 5, b"digest")
    assert begun == [], "what is written down is taken out"


async def test_every_task_is_counted(make_log: MakeLog, written: Written) -> None:
    log = make_log(created=3)
    await log.created(DETECTION, 7)
    await log.created(SWAP, 8)
    assert [(record.created, record.tasks) for record in written.all] == [
        (4, {DETECTION: 7}),
        (5, {DETECTION: 7, SWAP: 8}),
    ]


async def test_what_is_done_has_no_error_any_more(make_log: MakeLog, written: Written) -> None:
    log = make_log(state=JobState.CREATED)
    await log.met(ERROR)
    await log.done(RESULT, path=None, size=None, digest=None)
    assert [(record.state, record.error, steps(record)) for record in written.all] == [
        (JobState.CREATED, ERROR, "e"),
        (JobState.DONE, None, "ee"),
    ]


async def test_what_failed_for_good_says_so(make_log: MakeLog, written: Written) -> None:
    log = make_log(begun=[(Stage.WAIT, 1.0)], state=JobState.CREATED)
    await log.failed(ERROR)
    (record,) = written.all
    assert (record.state, record.error, steps(record)) == (JobState.FAILED, ERROR, "we")


@pytest.mark.parametrize(
    ("tasks", "state"), [({}, JobState.UPLOADED), ({DETECTION: 7}, JobState.CREATED)], ids=["first", "second"]
)
async def test_a_create_that_was_refused_leaves_no_intent(
    make_log: MakeLog, written: Written, tasks: dict[TaskKind, int], state: JobState
) -> None:
    log = make_log(tasks=tasks, state=state)
    await log.intent(SWAP)
    await log.refused()
    await log.refused()  # there is none to take back
    assert [(record.state, record.pending) for record in written.all] == [(JobState.INTENT, SWAP), (state, None)]


async def test_a_doubt_of_an_earlier_run_outlives_a_refusal(make_log: MakeLog, written: Written) -> None:
    """Which says nothing of the create of then; a task that is created ends it, and so does beginning anew."""
    log = make_log(state=JobState.INTENT, pending=SWAP, in_doubt="recreate")
    await log.refused()
    assert (written.all, log.record.pending) == ([], SWAP)
    await log.created(SWAP, 7)
    await log.intent(SWAP)
    await log.refused()
    assert log.record.pending is None
    anew = make_log(state=JobState.FAILED, pending=SWAP, tasks={DETECTION: 7}, error=ERROR)
    anew.restart()
    assert (anew.record.state, anew.record.pending, anew.record.tasks) == (JobState.NEW, None, {})
    await anew.intent(SWAP)
    await anew.refused()
    assert (anew.record.state, anew.record.pending) == (JobState.UPLOADED, None)


def test_a_task_that_may_have_been_created_is_held_unless_another_may_be(make_log: MakeLog) -> None:
    """Only of the kind that is in doubt."""
    values = {"state": JobState.INTENT, "pending": SWAP, "tasks": {DETECTION: 7}}
    held, risked = make_log(**values), make_log(**values, in_doubt="recreate")
    with pytest.raises(InDoubtError, match="may or may not have been created") as caught:
        held.task_of(SWAP)
    assert caught.value.stage is Stage.CREATE
    assert (held.task_of(DETECTION), risked.task_of(DETECTION), risked.task_of(SWAP)) == (7, 7, None)


@pytest.mark.parametrize("state", JobState)
def test_a_job_that_is_left_has_its_end_noted_where_it_was_under_way(
    make_log: MakeLog, written: Written, state: JobState
) -> None:
    log = make_log(begun=[(Stage.WAIT, 1.0)], state=state)
    log.left()
    under_way = state in {JobState.UPLOADED, JobState.INTENT, JobState.CREATED}
    assert [steps(record) for record in written.posted] == (["we"] if under_way else [])
    assert written.all == []


async def test_a_name_is_new_only_if_it_is_another(make_log: MakeLog, written: Written) -> None:
    log = make_log()
    assert log.rename(name="a", source="/a.png", media="a.png")
    assert not log.rename(name="a", source="/a.png", media="./a.png")
    assert log.rename(name="a", source=None, media="a.png")
    await log.rewrite()
    assert [(record.name, record.source, record.media) for record in written.all] == [("a", None, "a.png")]
