"""Trials that a run is in the middle of, in a file beside the store, for whoever watches.

The run alone writes the file, whole each time, and removes it at its end; a run that was killed leaves it. It is no result and
needs no sync: where it cannot be written, the run goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tieless._files import write_whole
from tieless.study.running.workers import is_running
from tieless.study.trial import EpochRecord, Trial, measured

_FILE = "study.running"
_APART = 1.0
"""Least number of seconds from one writing to the next."""
_PART = 50.0
"""Number of times that the pause after a writing is longer than the writing, which grows with the trials."""
_FRESH = 3.0
"""Age in seconds up to which the file says by itself that a run goes on."""


@dataclass(frozen=True, slots=True)
class UnderwayTrial:
    """Trial that has begun and not ended.

    Args:
        began: Time at which it began, in seconds since 1970.
        epochs: Loss of the training, and metric of the test and of the validation samples after each epoch that was told of.
    """

    began: float
    epochs: tuple[tuple[float | None, float | None, float | None], ...]


class Underway:
    """Trials that a run is in the middle of.

    Args:
        folder: Folder of the run, which it has locked.
        clock: Function that returns the time in seconds, which never goes back.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = folder / _FILE, clock
        self._trials: dict[str, dict[str, Any]] = {}
        self._changed = True
        self._next = clock()
        self.flush()

    def begin(self, trial: Trial) -> None:
        """Remember that a trial begins."""
        self._trials[trial.id] = {"began": time.time(), "epochs": []}
        self._changed = True

    def epoch(self, trial: Trial, record: EpochRecord) -> None:
        """Remember an epoch of a trial."""
        if trial.id in self._trials:
            numbers = record.train_loss, measured(trial, record), measured(trial, record, "validation")
            self._trials[trial.id]["epochs"].append(numbers)
            self._changed = True

    def end(self, trial: Trial) -> None:
        """Forget a trial, which has ended or is to begin again."""
        self._changed = self._trials.pop(trial.id, None) is not None or self._changed

    @property
    def wait(self) -> float | None:
        """Number of seconds until a change is to be written; ``None`` if there is none."""
        return max(0.0, self._next - self._clock()) if self._changed else None

    def flush(self) -> None:
        """Write what has changed, unless it was written a moment ago."""
        began = self._clock()
        if not self._changed or began < self._next:
            return
        with contextlib.suppress(OSError):
            write_whole(self._file, json.dumps(self._trials).encode())
        self._changed = False
        ended = self._clock()
        self._next = ended + max(_APART, _PART * (ended - began))

    def close(self) -> None:
        """Remove the file: the run is over."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def underway(folder: Path) -> tuple[bool, dict[str, UnderwayTrial]]:
    """Trials that the run in a folder is in the middle of, by their id, and whether the run goes on.

    Args:
        folder: Folder of a study.
    Returns:
        True if a run goes on, and the trials. A run that was killed was in the middle of them.
    """
    file = folder / _FILE
    try:
        content = file.read_bytes()
        age = time.time() - file.stat().st_mtime
    except OSError:
        return False, {}
    # Asked only where the file does not tell: to ask takes the lock for a moment, where no run has it.
    goes_on = age < _FRESH or is_running(folder)
    try:
        return goes_on, {name: _trial(record) for name, record in json.loads(content).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return goes_on, {}


def _trial(record: dict[str, Any]) -> UnderwayTrial:
    epochs = cast("Iterable[tuple[float | None, float | None, float | None]]", record["epochs"])
    return UnderwayTrial(float(record["began"]), tuple((loss, test, held_out) for loss, test, held_out in epochs))
