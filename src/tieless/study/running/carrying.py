"""Runs of trials in a process that has yet to import code of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tieless import own
from tieless.errors import SpecError
from tieless.study.running.worker import RunTrial
from tieless.study.trial import EpochRecord, Result, Trial


@dataclass(frozen=True, slots=True)
class Carrying:
    """Function that runs a trial, with the sources that it needs: a value that can be sent to any process.

    What is imported is what was sent, also where the file has changed since, or is not there.

    Args:
        run_trial: Function that runs a trial.
        code: Modules to import first.
    """

    run_trial: RunTrial
    code: tuple[own.Code, ...]

    def __call__(
        self, trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None, **checkpoints: Any
    ) -> Result:
        try:
            for one in self.code:
                own.load(one)
        except SpecError as error:
            return Result(trial=trial, status="failed", error=str(error))
        return self.run_trial(trial, on_epoch=on_epoch, **checkpoints)
