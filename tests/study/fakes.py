"""Run functions that stand in for training. Workers import them by name, so they live in a module of their own."""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tieless.study.file.reading import parse_study
from tieless.study.running.events import Finished
from tieless.study.study import Study
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


LEVELS = {"tied": 0.8, "constant(1)": 0.797, "full_jam": 0.76, "frozen": 0.5}
"""True mean accuracy of each rule in the hands of ``noisy``: 0.3, 4 and 30 points below tied."""


def noisy(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Accuracies around ``LEVELS``: 0.8 points of noise that all rules of a seed share, 0.5 of their own.

    0.1 is the best learning rate, by 10 points for each factor of ten; 9 diverges.
    """
    shared, own = random.Random(f"seed {trial.seed}"), random.Random(trial.id)
    away = 0.1 * abs(math.log10(trial.learning_rate / 0.1))
    accuracy = LEVELS[trial.backward] - away + shared.gauss(0, 0.008) + own.gauss(0, 0.005)
    accuracy = round(10_000 * accuracy) / 10_000
    tested = None if trial.test == "never" else accuracy
    validated = None if trial.validation is None else accuracy
    record = EpochRecord(0.5, 0.5, tested, tested, 0.0, validated, validated)
    if trial.learning_rate == 9:
        return replace(make_result(trial, "diverged"), epochs=(), classes=10)
    return replace(make_result(trial), epochs=(record,) * trial.epochs, classes=10, predicted_classes=10)


def noisy_and_marked(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``noisy``, but leaves the trial's id in ``TIELESS_TEST_MARK``."""
    marked(trial)
    return noisy(trial)


def short(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``quick``, but takes 50 ms, so that a signal can fall anywhere."""
    time.sleep(0.05)
    return quick(trial, on_epoch=on_epoch)


def slow(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``quick``, but takes half a second after the first two, so that a study is in its middle when it is stopped."""
    time.sleep(0 if trial.seed == 0 and trial.backward == "tied" else 0.5)
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


def waiting(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Writes its process's id into ``TIELESS_TEST_MARK``, and ends when somebody has written "on" there."""
    mark = Path(os.environ["TIELESS_TEST_MARK"])
    with mark.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while "on" not in mark.read_text(encoding="utf-8").split():
        time.sleep(0.02)
    return quick(trial, on_epoch=on_epoch)


def told(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """As ``short``, but leaves the process's id in ``TIELESS_TEST_MARK``. From seed 2 on it waits for a second process."""
    mark = Path(os.environ["TIELESS_TEST_MARK"])
    with mark.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while trial.seed >= 2 and len(set(mark.read_text(encoding="utf-8").split())) < 2:
        time.sleep(0.02)
    return short(trial, on_epoch=on_epoch)


def long(
    trial: Trial,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    resume: bytes = b"",
    on_checkpoint: Callable[[bytes], bool],
) -> Result | None:
    """As ``quick``, but notes each epoch that it begins in ``TIELESS_TEST_MARK``. It kills its first process in the third."""
    mark, result = Path(os.environ["TIELESS_TEST_MARK"]), make_result(trial)
    for epoch in range(int(resume or b"0"), trial.epochs):
        first = not mark.exists() or f"{trial.id} 2" not in mark.read_text(encoding="utf-8").splitlines()
        with mark.open("a", encoding="utf-8") as file:
            file.write(f"{trial.id} {epoch}\n")
        if epoch == 2 and first:
            os.kill(os.getpid(), signal.SIGKILL)
        if on_epoch is not None:
            on_epoch(result.epochs[epoch])
        if epoch < trial.epochs - 1 and not on_checkpoint(str(epoch + 1).encode()):
            return None
    return result


def threads(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Tells in ``hardware`` how many threads it has."""
    import torch

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    names = (*names, "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    told = {"torch": str(torch.get_num_threads()), **{name: os.environ[name] for name in names}}
    return replace(quick(trial, on_epoch=on_epoch), hardware=told)


class Inline:
    """Pool without processes: runs each trial here, at once."""

    def __init__(self, size, threads, run_trial, limit=None) -> None:
        self._run_trial = run_trial
        self._ended: list[Result] = []

    def room(self, wanted):
        return min(wanted, 1)

    def submit(self, trial, state):
        self._ended.append(self._run_trial(trial))

    def events(self, interrupt, timeout):
        while self._ended:
            yield Finished(self._ended.pop())

    def close(self):
        return self._ended


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


CLAIMING = """
title: A study of claims
question: Which of them hold?
core_hours: 0.01
grid:
  data: ones
  model: suc
  forward: logistic
  backward: [tied, constant, frozen, full_jam]
  loss: bce
  optimiser: sgd
  learning_rate: 0.1
  batch: 32
  epochs: 1
  seeds: [0, 1, 2]
claims:
  - constant is non-inferior to tied by 1 point
  - full_jam is non-inferior to tied by 1 point
  - says: frozen is inferior to tied by 20 points
    label: The baseline
"""
CHOOSING = CLAIMING.replace("learning_rate: 0.1", "learning_rate: [0.01, 0.1, 1]").replace(
    "claims:", "choose: {validation: 0.1, seeds: [100, 3]}\nclaims:"
)
CHOOSING = CHOOSING.replace(" by 1 point", " by 1 point at the chosen rate").replace(
    " by 20 points", " by 20 points at the chosen rate"
)


SHORT = CHOOSING.replace("seeds: [100, 3]", "seeds: [100, 3], epochs: 1")
"""The same, with runs of one epoch that choose."""


CONFIRMED = SHORT.replace("epochs: 1}", "epochs: 1, confirm: true}").replace("  epochs: 1\n", "  epochs: 2\n")
"""The same, where longer ones confirm what they chose."""


def claiming(*overrides: str) -> Study:
    """12 trials and three claims about them; ``noisy`` makes the first and last hold, the second not."""
    return parse_study(CLAIMING, name="claiming", overrides=overrides)


def choosing(*overrides: str) -> Study:
    """The same at a learning rate that is chosen out of three by two seeds: 24 trials that choose, then 12."""
    return parse_study(CHOOSING, name="choosing", overrides=overrides)
