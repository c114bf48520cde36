"""Run functions that stand in for training. Workers import them by name, so they live in a module of their own."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tieless.study.spec import Study, parse_study
from tieless.study.trial import EpochRecord, Result, Trial

# Workers get the path of their parent, and import this module by its name from wherever pytest was started.
if (ROOT := str(Path(__file__).parents[2])) not in sys.path:
    sys.path.append(ROOT)


def make_trial(**changes: Any) -> Trial:
    values: dict[str, Any] = {
        "data": "ones(d=10, tau=0.5)",
        "model": "suc",
        "forward": "logistic",
        "backward": "tied",
        "loss": "bce",
        "optimiser": "sgd",
        "learning_rate": 0.1,
        "batch": 32,
        "epochs": 2,
        "seed": 0,
    }
    return Trial(**{**values, **changes})


def make_result(trial: Trial, status: Any = "done") -> Result:
    """The result that ``quick`` gives: numbers that follow from the trial's id alone, and no times."""
    digits = [b / 255 for b in hashlib.sha256(trial.id.encode()).digest()]
    records = tuple(
        EpochRecord(
            digits[4 * i % 28], digits[(4 * i + 1) % 28], digits[(4 * i + 2) % 28], digits[(4 * i + 3) % 28], 0.0
        )
        for i in range(trial.epochs)
    )
    return Result(
        trial=trial,
        status=status,
        epochs=records if status == "done" else records[:1],
        predicted_classes=2,
        classes=2,
        error="ValueError: it broke" if status == "failed" else None,
        started="2025-01-01T00:00:00+00:00",
        versions={"torch": "2"},
        hardware={"device": "cpu"},
    )


def quick(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Ends at once. A learning rate of 9 diverges, one of 8 fails."""
    status = {9.0: "diverged", 8.0: "failed"}.get(trial.learning_rate, "done")
    result = make_result(trial, status)
    for record in result.epochs:
        if on_epoch is not None:
            on_epoch(record)
    return result


def short(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``quick``, but takes 50 ms, so that a signal can fall anywhere."""
    time.sleep(0.05)
    return quick(trial, on_epoch=on_epoch)


def deadly(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``quick``, but the trial with batch 1 kills its process, and the one with batch 2 does so the first time.

    ``TIELESS_TEST_MARK`` names the file by which it knows that there was a first time.
    """
    mark = Path(os.environ["TIELESS_TEST_MARK"])
    if trial.batch == 1 or (trial.batch == 2 and not mark.exists()):
        mark.touch()
        if on_epoch is not None:
            on_epoch(make_result(trial).epochs[0])
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(trial, on_epoch=on_epoch)


def marked(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``quick``, but leaves the trial's id in ``TIELESS_TEST_MARK``."""
    with Path(os.environ["TIELESS_TEST_MARK"]).open("a", encoding="utf-8") as file:
        file.write(f"{trial.id}\n")
    return quick(trial, on_epoch=on_epoch)


def endless(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Trials of seed 0 are quick, all others never end. Leaves the process's id in ``TIELESS_TEST_MARK``."""
    if trial.seed > 0:
        with Path(os.environ["TIELESS_TEST_MARK"]).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(600)
    return quick(trial, on_epoch=on_epoch)


def threads(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Tells in ``hardware`` how many threads it has."""
    import torch

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    told = {"torch": str(torch.get_num_threads()), **{name: os.environ[name] for name in names}}
    return replace(quick(trial, on_epoch=on_epoch), hardware=told)


class BrokenImport:
    """Cannot be read by a worker, so that none can be started."""

    def __reduce__(self) -> Any:
        return (_refuse, ())

    def __call__(self, trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
        raise NotImplementedError


def _refuse() -> None:
    raise ImportError("this cannot be imported")


STUDY = """
title: A study of nothing
question: Does the runner lose anything?
core_hours: 0.01
grid:
  data: ones
  model: suc
  forward: logistic
  backward: [tied, constant, frozen, full_jam]
  loss: bce
  optimiser: sgd
  learning_rate: [0.1, 9]
  batch: 32
  epochs: 2
  seeds: [0, 1, 2]
"""


def make_study(*overrides: str, name: str = "nothing") -> Study:
    """24 trials, of which 12 diverge in the hands of ``quick``."""
    return parse_study(STUDY, name=name, overrides=overrides)
