"""When to look at a task, learnt from what looks find. Pure.

How it works, from the bottom up:

- **Durations.** How long a kind of task takes is a log-normal distribution that follows what is seen (`durations.py`).
- **Windows.** How many tasks the service works on at once is not told. There is a belief for each of some sizes, from 1
  to all, with durations of its own (`windows.py`). Looks judge them. Believed is the largest that explains the looks
  about as well as the best does: one that is too large is found out by looks that come too early, one that is too small
  never would be, for late looks always succeed.
- **Plans.** A look is worth a call once its task is done with a probability of 0.9, as the durations have it from its
  believed beginning: then ten looks find nine tasks done. At 0.98 it is overdue. The last task of a batch is looked at
  from 0.15 on, for the batch is not over before. A task that is believed to queue is not looked at.
- **Bets.** Where beliefs about as good as the best differ on whether a task has begun at all, a look at it decides
  between them. One such look is made at a time, and one more with each that finds its task done in a row. So of
  hundreds of tasks that were created at once a few are looked at in vain until it is clear how many are worked on, and
  if it is all of them, that is clear soon.
- **Scouts.** While fewer than four tasks of a kind were found done, the oldest of that kind is looked at from 0.3 on;
  the others, while none was, only once they are overdue. So a wrong idea of the durations costs some looks at one task,
  not one at each. A second one goes with a first that takes longer than half of them were to take, while none was found
  done: the first may be the one in many that takes long.
- **Leads.** Where the service takes any number of calls, the first scout of a kind is looked at from 0.07 on, the more
  often the more tasks of its kind are worked on. Once it is found done, others that are as old are looked at too, as
  bets, until one is not done: so tasks that were created together and take the same time are noticed together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from facewarp_async.config import Provider
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.outlook import work_left
from facewarp_async.policy.polling import Plan, TimeLeft, Watch
from facewarp_async.policy.windows import SIZES, Window

_EAGER, _EARLY, _LATE = 0.15, 0.9, 0.98
_SCOUT, _SCOUTED, _MOST_SCOUTS = 0.3, 4, 2
_FIRST_SCOUT, _FIRST_GAP = 0.07, 0.9
"""The gap is a share of the time that the first scout has taken, where one task is worked on. More tasks gain more by
an early find: for looks and waiting to cost least together, it shrinks with the root of their number."""

_SLOW = 0.9
_CREDIBLE = 4.0
"""How much less evidence than the best a belief may have: one that makes the outcomes fifty times less probable."""

_MOVED = 0.05
"""By which share the durations may have changed before tasks are planned anew."""

_LEAST_GAP, _LEAST_GAP_AGAIN, _MOST_GAP = 0.05, 0.3, 0.6
"""A look in vain is followed by the next after so much of the time that the task has taken, at least and at most."""

_LEAST_GAP_S, _MOST_GAP_S = 0.005, 60.0

_ENOUGH = 20
"""How many tasks must have taught what is kept."""


class LearntPolling:
    """Learns how long tasks take, and how many the service works on at once; most looks then find their task done.

    Args:
        starts: What to begin with, by kind: all kinds must be there.
        is_unlimited: Whether the service takes any number of calls a second.
    """

    def __init__(self, starts: Mapping[TaskKind, Durations], *, is_unlimited: bool = False) -> None:
        self._is_unlimited = is_unlimited
        self._windows = [
            Window(index, size, {kind: start.copy() for kind, start in starts.items()})
            for index, size in enumerate(SIZES)
        ]
        self._believed, self._smallest = self._windows[-1], self._windows[0]
        self._scouts: dict[TaskKind, list[Watch]] = {kind: [] for kind in starts}
        self._leads_s: dict[TaskKind, float] = {}
        self._early_s: dict[TaskKind, float] = {}  # as they were when tasks were last planned anew
        self._outdated: list[Watch] = []
        self._outdated_windows: set[Window] = set()

    @classmethod
    def for_provider(cls, provider: Provider) -> LearntPolling:
        """Start from the provider's typical times."""
        return cls(
            {
                kind: Durations(provider.typical_video_s if kind.is_video else provider.typical_image_s)
                for kind in TaskKind
            },
            is_unlimited=provider.requests_per_second is None,
        )

    @property
    def window(self) -> int:
        """How many tasks the service is believed to work on at once."""
        return self._believed.size

    def durations(self, kind: TaskKind) -> Durations:
        """Return what is believed of a kind."""
        return self._believed.durations[kind]

    def adopt(self, kind: TaskKind, durations: Durations) -> None:
        """Begin from what was learnt elsewhere."""
        for window in self._windows:
            window.durations[kind] = durations.copy()

    def settled(self) -> dict[TaskKind, Durations]:
        """Return what is worth keeping for another run, by kind: what many tasks have taught.

        Of the beliefs that are credible, the one with the shortest times is kept. Times that are too short cost the
        next run some looks; too long ones, as of tasks that really queued, would let its first tasks lie.
        """
        credible = list(self._credible())
        shortest = {
            kind: min((window.durations[kind] for window in credible), key=lambda durations: durations.typical_s)
            for kind in TaskKind
        }
        return {kind: durations for kind, durations in shortest.items() if durations.seen >= _ENOUGH}

    def slow_s(self, kind: TaskKind, /) -> float:
        """Return how long the longest of nine tasks in ten take."""
        return self.durations(kind).when_done(_SLOW)

    def work_left(self, now: float, /, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        """Return in how many seconds the last task will probably be done, of those that are and will be waited for."""
        return work_left(self._believed, now, upcoming=upcoming, over_s=over_s)

    def add(self, watch: Watch, /) -> None:
        """Take note of a task that will be waited for."""
        if not watch.is_fresh:
            watch.begins = [watch.created_at] * len(self._windows)
            return
        watch.begins = [math.inf] * len(self._windows)
        for window in self._windows:
            window.add(watch)
        scouts = self._scouts[watch.taken_for]
        if not scouts and self.durations(watch.taken_for).seen < _SCOUTED:
            scouts.append(watch)

    def plan(self, watch: Watch, /) -> Plan:
        """Say when to look at a task."""
        if not watch.is_fresh and not watch.looks:
            return Plan(watch.looked_at, watch.looked_at, watch.looked_at)
        began_at = watch.begins[self._believed.index]
        if began_at == math.inf:
            return Plan(math.inf, math.inf, math.inf)
        kind, known_s = watch.taken_for, watch.known_s(began_at)
        durations, scouts = self.durations(kind), self._scouts[kind]
        is_scout = watch in scouts
        is_first = is_scout and scouts[0] is watch and self._is_unlimited and not durations.seen
        # When one that is not fresh began, nobody knows.
        early = _FIRST_SCOUT if is_first else _SCOUT if is_scout or not watch.is_fresh else _EARLY
        eager_s, early_s, late_s = (
            durations.when_done(probability, not_by_s=known_s) for probability in (_EAGER, early, _LATE)
        )
        if known_s:
            gap = _LEAST_GAP if watch.looks == 1 else _LEAST_GAP_AGAIN
            least_s = known_s + max(_LEAST_GAP_S, gap * known_s)
            most_s = known_s + max(_LEAST_GAP_S, min(_MOST_GAP_S, _MOST_GAP * known_s))
            early_s = min(max(early_s, least_s), max(most_s, durations.when_done(early)))
            if is_first:
                early_s = min(early_s, known_s * (1 + _FIRST_GAP / math.sqrt(self._worked_on(kind))))
            eager_s = max(eager_s, known_s * (1 + _LEAST_GAP))
        elif not durations.seen and not is_scout and watch.is_fresh:
            early_s = late_s
        self._early_s.setdefault(kind, durations.when_done(_EARLY))
        is_bet = not is_scout and watch.begins[self._smallest.index] == math.inf
        lead_s = math.inf if is_scout or watch.looks else self._leads_s.get(kind, math.inf)
        if lead_s < early_s:
            early_s, is_bet = lead_s, True
        return Plan(began_at + min(eager_s, early_s), began_at + early_s, began_at + max(late_s, early_s), is_bet)

    def learn(self, watch: Watch, asked_at: float, done: bool, /) -> None:
        """Take a look's outcome into account."""
        if not watch.is_fresh:
            return
        self._doubt(watch, asked_at, done)
        if self._is_unlimited:
            self._follow(watch, asked_at, done)
        for window in self._windows:
            window.weigh(watch, asked_at, done)
        if done:
            for window in self._windows:
                self._note_begun(window, window.finish(watch, asked_at))
            watch.begins = []
            self._relieve(watch)
        self._choose()
        if done:
            self._compare(watch.taken_for)

    def remove(self, watch: Watch, now: float, /) -> None:
        """Forget a task."""
        if watch.is_fresh and watch.begins:
            for window in self._windows:
                self._note_begun(window, window.leave(watch, now))
            watch.begins = []
            self._relieve(watch)

    def outdated(self) -> Iterable[Watch]:
        """Return the tasks that must be planned anew because of what happened since this was last called."""
        outdated = [*self._outdated, *(watch for window in self._outdated_windows for watch in window.begun)]
        self._outdated.clear()
        self._outdated_windows.clear()
        return outdated

    def _note_begun(self, window: Window, begun: Iterator[Watch]) -> None:
        watches = list(begun)
        if window is self._believed:
            self._outdated += watches

    def _worked_on(self, kind: TaskKind) -> int:
        return sum(watch.taken_for is kind for watch in self._believed.begun)

    def _follow(self, watch: Watch, asked_at: float, done: bool) -> None:
        """Take the age of the first task of a kind that is found done for a lead, until an older one is not done."""
        kind, age_s = watch.taken_for, asked_at - watch.begins[self._believed.index]
        if done and age_s > 0 and not self.durations(kind).seen:
            self._leads_s[kind] = age_s
            self._outdated_windows.add(self._believed)
        elif not done and age_s >= self._leads_s.get(kind, math.inf):
            del self._leads_s[kind]
            self._outdated_windows.add(self._believed)

    def _doubt(self, watch: Watch, asked_at: float, done: bool) -> None:
        """While no task was found done, send another scout beside one that takes longer than most were to take."""
        kind, began_at = watch.taken_for, watch.begins[self._believed.index]
        scouts, durations = self._scouts[kind], self.durations(kind)
        is_late = not done and watch in scouts and asked_at - began_at >= durations.typical_s
        if is_late and not durations.seen and len(scouts) < _MOST_SCOUTS:
            self._send_scout(kind)

    def _relieve(self, gone: Watch) -> None:
        """Send another scout in the place of one that is gone, unless enough is known."""
        kind = gone.taken_for
        scouts = self._scouts[kind]
        if gone not in scouts:
            return
        scouts.remove(gone)
        if not scouts and self.durations(kind).seen < _SCOUTED:
            self._send_scout(kind)

    def _send_scout(self, kind: TaskKind) -> None:
        scouts = self._scouts[kind]
        for watch in self._believed.begun:
            if watch.taken_for is kind and watch not in scouts:
                scouts.append(watch)
                self._outdated.append(watch)
                break

    def _credible(self) -> Iterator[Window]:
        """Return the windows that explain the looks about as well as the best does, the smallest first."""
        least = max(window.evidence for window in self._windows) - _CREDIBLE
        return (window for window in self._windows if window.evidence >= least)

    def _choose(self) -> None:
        credible = list(self._credible())
        if credible[-1] is self._believed and credible[0] is self._smallest:
            return
        self._outdated_windows |= {self._believed, credible[-1]}
        self._believed, self._smallest = credible[-1], credible[0]
        self._early_s.clear()

    def _compare(self, kind: TaskKind) -> None:
        """Have tasks planned anew when durations have moved away from those they were planned with."""
        early_s = self.durations(kind).when_done(_EARLY)
        planned_s = self._early_s.get(kind, early_s)
        if abs(early_s - planned_s) > _MOVED * planned_s:
            self._early_s[kind] = early_s
            self._outdated_windows.add(self._believed)
