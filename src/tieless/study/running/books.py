"""Books of a run: the queue of trials, second attempts, the deadline, and the store that takes the results.

The books know a pool, a function that stores, and a clock, so that a simulation can run them too.
"""

from __future__ import annotations

import math
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection

from tieless.errors import LostResultError, StudyError
from tieless.study.running.checkpoints import Checkpoints
from tieless.study.running.events import Epoch, Event, Finished, Notice, Retried
from tieless.study.running.pool import Died, Pool, PoolEvent, Saved
from tieless.study.running.underway import Underway
from tieless.study.trial import Result, Trial

_ATTEMPTS = 2
"""Number of times that a trial may end its process before it counts as failed."""
_DEPARTURES = 20
"""Number of machines that may be lost under a trial before it counts as failed: it may be what takes them down."""


class Books:
    """Books of one run.

    Args:
        pool: Pool that runs the trials.
        store: Function that stores results, all or none, and returns when they are on the disk.
        listen: Function called with each event.
        interrupt: Connection that becomes readable with the number of a signal that stops the run.
        deadline: Time of the clock after which no trial begins.
        grace: Number of seconds that running trials have to end after SIGTERM or the deadline; ``None`` for none after
            SIGTERM, and for all the time they take after the deadline.
        most_failures: Number of failed trials at which no further trial begins; ``None`` for no limit.
        checkpoints: Checkpoints of the trials; ``None`` to make none.
        underway: File of the trials that run; ``None`` to write none.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        pool: Pool,
        store: Callable[[Sequence[Result]], None],
        listen: Callable[[Event], None],
        interrupt: Connection,
        *,
        deadline: float = math.inf,
        grace: float | None = None,
        most_failures: int | None = None,
        checkpoints: Checkpoints | None = None,
        underway: Underway | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended: Counter[str] = Counter()
        self.ended_ids: set[str] = set()
        self.spent = self.gave_up = False
        self.stopped_by: int | None = None
        self._queue: deque[Trial] = deque()
        self._running: set[str] = set()
        self._arrived: list[Result] = []
        self._deaths: Counter[tuple[type, str]] = Counter()
        self._pool = pool
        self._store = store
        self._listen = listen
        self._interrupt = interrupt
        self._deadline = deadline
        self._grace = grace
        self._most_failures = math.inf if most_failures is None else most_failures
        self._checkpoints = checkpoints
        self._underway = underway
        self._clock = clock
        self._last_moment = math.inf if grace is None else deadline + grace

    def loop(self, trials: Iterable[Trial]) -> bool:
        """Run until nothing is left, or until the running trials end after the deadline; False if a signal came first.

        Idle processes stay for the next round.
        """
        self._queue.extend(trials)
        while self._open() or self._running:
            self._begin()
            for event in self._pool.events(self._interrupt, self._wait()):
                self._hear(event)
            self._end_arrived()
            if self._underway is not None:
                self._underway.flush()
            if self._interrupt.poll() and not self._goes_on_after(self._interrupt.recv()):
                return False
            if self._running and self._clock() >= self._last_moment:
                self.spent = self.stopped_by is None
                break
        return self.stopped_by is None

    def _wait(self) -> float | None:
        """Number of seconds until something is to be done though nothing has happened; ``None`` for no end."""
        left = max(0.0, self._last_moment - self._clock())
        due = None if self._underway is None else self._underway.wait
        wait = min(left, math.inf if due is None else due)
        return None if wait == math.inf else wait

    def _goes_on_after(self, number: int) -> bool:
        """True if running trials have time to end after this signal: after the first SIGTERM, if there is a grace."""
        graceful = self.stopped_by is None and number == signal.SIGTERM and bool(self._grace)
        self.stopped_by = number
        if graceful:
            self._last_moment = min(self._last_moment, self._clock() + (self._grace or 0.0))
            self._listen(Notice(f"Stopping: {len(self._running)} trials run and have {self._grace:g} s to end."))
        return graceful

    def _open(self) -> bool:
        """True if another trial is to begin."""
        return bool(self._queue) and not self.over()

    def over(self) -> bool:
        """True if the run is to end, evaluated where there would be more to run."""
        self.spent = self.spent or self._clock() >= self._deadline
        return self.spent or self.gave_up or self.stopped_by is not None

    def _begin(self) -> None:
        room = self._pool.room(len(self._queue)) if self._open() else 0
        while room and self._open():
            trial = self._queue.popleft()
            self._running.add(trial.id)
            if self._underway is not None:
                self._underway.begin(trial)
            self._pool.submit(trial, None if self._checkpoints is None else self._checkpoints.load(trial.id))
            room -= 1

    def _hear(self, event: PoolEvent) -> None:
        if isinstance(event, (Epoch, Notice)):
            if self._underway is not None and isinstance(event, Epoch):
                self._underway.epoch(event.trial, event.record)
            self._listen(event)
            return
        if isinstance(event, Saved):
            self._save(event)
            return
        trial = event.result.trial if isinstance(event, Finished) else event.trial
        self._running.discard(trial.id)
        if self._underway is not None:
            self._underway.end(trial)
        if isinstance(event, Finished):
            self._arrived.append(event.result)
            return
        self._deaths[type(event), trial.id] += 1
        most = _ATTEMPTS if isinstance(event, Died) else _DEPARTURES
        if self._deaths[type(event), trial.id] < most:
            self._queue.appendleft(trial)
            self._listen(Retried(trial, event.reason))
        else:
            error = f"Its worker died {most} times, the last time {event.reason}."
            self._arrived.append(Result(trial=trial, status="failed", error=error))

    def _save(self, event: Saved) -> None:
        assert self._checkpoints is not None
        try:
            self._checkpoints.save(event.trial.id, event.state)
        except StudyError as error:
            self._listen(Notice(f"A trial goes on without a checkpoint. {error}"))

    def _end_arrived(self) -> None:
        """Store what has arrived since the last look, as one transaction, then tell of it."""
        results, self._arrived = self._arrived, []
        if not results:
            return
        try:
            self._store(results)
        except StudyError as error:
            lost = "latest result is" if len(results) == 1 else f"latest {len(results)} results are"
            raise LostResultError(f"The run ends, and its {lost} lost. {error}") from error
        self.ended.update(result.status for result in results)
        self.gave_up = self.ended["failed"] >= self._most_failures
        self.ended_ids.update(result.trial.id for result in results)
        if self._checkpoints is not None:
            for result in results:
                self._checkpoints.drop(result.trial.id)
        # All are kept before the first is told: whoever listens may have gone.
        for result in results:
            self._listen(Finished(result))

    def close(self) -> None:
        """End the pool. A result that was sent before the end is stored."""
        self._arrived.extend(self._pool.close())
        self._end_arrived()
