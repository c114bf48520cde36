"""Run one trial: build, train, test. ``MEANING`` in ``trial`` versions what is computed here."""

from __future__ import annotations

import io
import math
import platform
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from tieless.data import Dataset
from tieless.data.source import stream
from tieless.diagnose import AlignmentMonitor, AlignmentRow
from tieless.errors import StudyError
from tieless.nn import RuleScheduler, latent_weights
from tieless.optim import clip_after_step
from tieless.rules import rule_schedule
from tieless.study.network import check_targets, start_of
from tieless.study.running.steps import step_for
from tieless.study.settings.augmentations import augmentations, augmented
from tieless.study.settings.losses import LOSSES, kind_of
from tieless.study.settings.metrics import ACCURACY, METRICS
from tieless.study.settings.optimisers import OPTIMISERS
from tieless.study.settings.schedules import SCHEDULES, Scheduled
from tieless.study.trial import EpochRecord, Result, Status, Trial

EVALUATION_BATCH = 1000
_NOT_EVALUATED: tuple[None, None, None] = (None, None, None)
LOOKS = 100
"""Number of updates between two reads of the loss where a read has to wait for a GPU."""


OnStep = Callable[[int, nn.Module, tuple[Tensor, Tensor]], None]
"""Function of the number of an update, the network before it and the update's batch."""


@overload
def run_trial(
    trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None, on_step: OnStep | None = None
) -> Result: ...
@overload
def run_trial(
    trial: Trial,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: OnStep | None = None,
    resume: bytes = b"",
    on_checkpoint: Callable[[bytes], bool],
) -> Result | None: ...
def run_trial(
    trial: Trial,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: OnStep | None = None,
    resume: bytes = b"",
    on_checkpoint: Callable[[bytes], bool] | None = None,
) -> Result | None:
    """Train and test one network. The same machine with the same number of threads gives the same numbers; on a GPU
    only as far as the libraries below PyTorch do.

    The caller's random state is left as it was. An exception becomes a result of status ``failed``; a loss that is
    not finite ends the trial with status ``diverged``.

    Args:
        trial: Trial to run.
        on_epoch: Function called after each finished epoch.
        on_step: Function called before each update, with its number from 0, the network and the batch ``(inputs,
            targets)``. It may measure, and must leave the network and the random state as they were, as the instruments
            of ``tieless.diagnose`` do.
        resume: State from which the trial goes on, as ``on_checkpoint`` got it: its numbers are those of a run that was
            never interrupted. One of another trial, of other versions or with damage is ignored.
        on_checkpoint: Function called with the state after each epoch but the last; False if the trial is to end here.
    Returns:
        Result, with one record for each finished epoch; ``None`` if ``on_checkpoint`` has ended it.
    """
    clock = time.perf_counter()
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    epochs: list[EpochRecord] = []
    alignments: tuple[AlignmentRow, ...] = ()
    predicted: int | None = None
    classes: int | None = None
    test_samples: int | None = None
    chance: float | None = None
    status: Status = "done"
    error: str | None = None
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(), _DENORMALS[trial.denormals]():
            threads = torch.get_num_threads()
            run = _Run(trial, on_step)
            classes, test_samples, chance = run.classes, run.data.test_y.numel(), run.chance_level
            if (state := _read_state(resume, trial, threads)) is not None:
                epochs = [EpochRecord(**record) for record in state["epochs"]]
                started, clock = state["started"], clock - state["seconds"]
                run.restore(state["run"])
                alignments, predicted = run.alignments, run.predicted_classes
            for epoch in range(len(epochs), trial.epochs):
                record = run.epoch(last=epoch == trial.epochs - 1)
                alignments = run.alignments
                if record is None:
                    status = "diverged"
                    break
                epochs.append(record)
                predicted = run.predicted_classes
                if on_epoch is not None:
                    on_epoch(record)
                if on_checkpoint is not None and epoch < trial.epochs - 1:
                    seconds = time.perf_counter() - clock
                    records = [asdict(record) for record in epochs]
                    progress = {"epochs": records, "started": started, "seconds": seconds, "run": run.state()}
                    if not on_checkpoint(_write_state(progress, trial, threads)):
                        return None
    except Exception as problem:  # noqa: BLE001  whatever went wrong belongs to this trial and must not end the study
        status, error = "failed", f"{type(problem).__name__}: {problem}".splitlines()[0]
    return Result(
        trial=trial,
        status=status,
        epochs=tuple(epochs),
        predicted_classes=predicted,
        classes=classes,
        test_samples=test_samples,
        error=error,
        seconds=time.perf_counter() - clock,
        started=started,
        versions=versions(),
        hardware=_hardware(trial.device, threads),
        alignments=alignments,
        chance=chance,
    )


def _identity(trial: Trial, threads: int) -> dict[str, Any]:
    """Circumstances under which a state leads to the same numbers."""
    known = versions()
    return {"trial": trial.id, "threads": threads, "torch": known["torch"], "tieless": known["tieless"]}


def _write_state(progress: dict[str, Any], trial: Trial, threads: int) -> bytes:
    file = io.BytesIO()
    torch.save({"of": _identity(trial, threads), **progress}, file)
    return file.getvalue()


def _read_state(state: bytes, trial: Trial, threads: int) -> dict[str, Any] | None:
    """State as ``_write_state`` was given it; ``None`` if it is empty, damaged, or of other circumstances."""
    if not state:
        return None
    try:
        # Tensors and plain values alone: nothing that is read is run.
        found = cast("dict[str, Any]", torch.load(io.BytesIO(state), weights_only=True))
        same = found["of"] == _identity(trial, threads)
    except Exception:  # noqa: BLE001  whatever damage does: the trial begins anew
        return None
    return found if same else None


@contextmanager
def _one_thread_that_flushes() -> Generator[None]:
    # A processor keeps this setting for each thread, and PyTorch sets that of the calling one.
    threads, flushed = torch.get_num_threads(), sys.float_info.min / 2 == 0
    if not torch.set_flush_denormal(True):
        raise StudyError("denormals: this processor cannot flush them. Leave the setting out, or write 'kept'.")
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


_DENORMALS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "kept": nullcontext,
    "flushed": _one_thread_that_flushes,
}


class _Run:
    def __init__(self, trial: Trial, on_step: OnStep | None) -> None:
        self.on_step, self.steps = on_step, 0
        # The order of the samples has a generator of its own, so that it is the same for every rule of a seed,
        # however many numbers the rule draws.
        self.order = torch.Generator().manual_seed(2**32 + trial.seed)
        # So that the order is the same with and without augmentation.
        self.chance = torch.Generator().manual_seed(2**33 + trial.seed)
        self.model, self.data = start_of(trial)
        check_targets(trial, self.data, "loss")
        check_targets(trial, self.data, "metric")
        self.held_out: tuple[Tensor, Tensor] | None = None
        if trial.validation is not None:
            self.data, self.held_out = hold_out(self.data, trial.validation, trial.seed)
        self.test = trial.test
        self.batch = trial.batch
        self.loss = LOSSES[trial.loss]
        self.classes = self.data.classes if kind_of(self.data.train_y) == "classes" else None
        self.metric = None if trial.metric == ACCURACY else METRICS[trial.metric]
        self.chance_level = None if self.metric is None else self.metric.chance_of(self.data.train_y)
        self.optimisers = OPTIMISERS.read(trial.optimiser).build(self.model, trial.learning_rate)
        if latent_weights(self.model):
            for optimiser in self.optimisers:
                clip_after_step(optimiser, self.model)
        rules = rule_schedule(trial.backward)
        self.rules = None if rules is None else RuleScheduler(self.model, rules)
        self.step = step_for(self.model, self.loss, self.optimisers, changing=rules is not None, compiler=trial.compile)
        steps = trial.epochs * math.ceil(len(self.data.train_y) / trial.batch)
        self.schedule = Scheduled(SCHEDULES.read(trial.schedule), self.optimisers, steps)
        self.changes = augmentations(trial.augment)
        self.trial = trial
        self.monitor = self._new_monitor()
        self.earlier: tuple[AlignmentRow, ...] = ()
        self.predicted_classes: int | None = None

    def _new_monitor(self) -> AlignmentMonitor | None:
        every, seed = self.trial.monitor, self.trial.seed
        if not every:
            return None
        return AlignmentMonitor(self.model, self.loss.mean, every=every, seed=seed, taken=self.steps)

    @property
    def alignments(self) -> tuple[AlignmentRow, ...]:
        """Measurements of the monitor so far."""
        measured = self.monitor.history if self.monitor else ()
        return (*self.earlier, *(row for one in measured for row in one.rows()))

    def state(self) -> dict[str, Any]:
        """Everything that changes from one update to the next."""
        return {
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "rules": None if self.rules is None else self.rules.state_dict(),
            "random": [torch.get_rng_state(), self.order.get_state(), self.chance.get_state()],
            "steps": self.steps,
            "alignments": [asdict(row) for row in self.alignments],
            "predicted_classes": self.predicted_classes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        if self.rules is not None:
            self.rules.load_state_dict(state["rules"])
        self.steps = self.schedule.taken = state["steps"]
        self.monitor = self._new_monitor()
        self.earlier = tuple(AlignmentRow(**row) for row in state["alignments"])
        self.predicted_classes = state["predicted_classes"]
        # The last, for what comes before may draw.
        for restored, values in zip(
            (torch.set_rng_state, self.order.set_state, self.chance.set_state), state["random"], strict=True
        ):
            restored(values)

    def epoch(self, *, last: bool) -> EpochRecord | None:
        """Train for one pass over the samples, and test as the trial says; ``None`` if a loss was not finite."""
        clock = time.perf_counter()
        self.model.train()
        # Sums stay where the data are: to fetch a number is to wait for a GPU.
        device = self.data.train_y.device
        total = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        looks = 1 if device.type == "cpu" else LOOKS
        for number, (x, labels) in enumerate(self.data.batches(self.order, self.batch)):
            inputs = augmented(x, self.changes, self.chance)
            if self.monitor is not None:
                self.monitor.step((inputs, labels))
            if self.on_step is not None:
                self.on_step(self.steps, self.model, (inputs, labels))
            self.steps += 1
            self.schedule.step()
            loss, right = self.step(inputs, labels)
            if self.rules is not None:
                self.rules.step()
            total += loss.double() * labels.numel()
            correct += right
            if number % looks == 0 and not math.isfinite(total.item()):
                return None
        if not math.isfinite(total.item()):
            return None
        validation_loss, validation_accuracy, validation_metric = (
            self._evaluate(*self.held_out) if self.held_out else _NOT_EVALUATED
        )
        test_loss, test_accuracy, test_metric = _NOT_EVALUATED
        if self.test == "each-epoch" or (self.test == "once" and last):
            test_loss, test_accuracy, test_metric = self._evaluate(self.data.test_x, self.data.test_y)
        if not all(math.isfinite(loss) for loss in (validation_loss, test_loss) if loss is not None):
            return None
        labels_seen = self.data.train_y.numel()
        return EpochRecord(
            total.item() / labels_seen,
            math.nan if self.classes is None else int(correct) / labels_seen,
            test_loss,
            test_accuracy,
            time.perf_counter() - clock,
            validation_loss,
            validation_accuracy,
            test_metric,
            validation_metric,
        )

    @torch.no_grad()
    def _evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[float, float | None, float | None]:
        """Loss, accuracy and, if it is another one, the metric; numbers to predict have no accuracy."""
        self.model.eval()
        total, correct = 0.0, 0
        seen = torch.zeros(self.data.classes, dtype=torch.bool, device=targets.device)
        kept: list[Tensor] = []
        for start in range(0, len(targets), EVALUATION_BATCH):
            labels = targets[start : start + EVALUATION_BATCH]
            outputs = self.model(inputs[start : start + EVALUATION_BATCH])
            total += self.loss.mean(outputs, labels).item() * labels.numel()
            if self.metric is not None:
                kept.append(outputs)
            if self.classes is not None:
                predicted = self.loss.classes(outputs)
                correct += int((predicted == labels).sum())
                seen[predicted] = True
        loss, accuracy, value = total / targets.numel(), None, None
        if self.classes is not None:
            accuracy, self.predicted_classes = correct / targets.numel(), int(seen.sum())
        # A run whose loss is not finite has diverged, and its metric is that of chance.
        if self.metric is not None and math.isfinite(loss):
            value = self.metric.of(torch.cat(kept), targets)
        return loss, accuracy, value


def versions() -> dict[str, str]:
    """Versions of Python and of the packages on which the numbers of a trial depend."""
    packages = {name: version(name) for name in ("numba", "numpy", "tieless")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **packages}


def _hardware(device: str, threads: int) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor_name()
    return {"device": device, "processor": name, "threads": str(threads)}


def processor_name() -> str:
    """Name of the processor, or its kind if the system does not tell the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def hold_out(data: Dataset, part: float, seed: int) -> tuple[Dataset, tuple[Tensor, Tensor]]:
    """Take a part of the training samples away.

    ``seed`` draws them from a stream of its own, without regard to their labels, so that neither the subset nor the
    order of the others depends on it. The test samples stay as they are.

    Args:
        data: Data set to take from.
        part: Fraction to take, above 0 to below 1; rounded to whole samples, at least one.
        seed: Seed that draws them.
    Returns:
        Data set without the held-out samples, and the inputs and labels of those, whole samples each.
    Raises:
        StudyError: no sample would be left to train on.
    Example:
        >>> from tieless.data import load
        >>> rest, (x, y) = hold_out(load("ones(d=4, n=50)", seed=0), 0.25, seed=0)
        >>> len(rest.train_y), len(y), len(rest.test_y)
        (30, 10, 10)
    """
    samples = len(data.train_y)
    count = max(1, round(part * samples))
    if count >= samples:
        raise StudyError(f"validation {part:g} of {samples} training samples leaves none to train on.")
    order = torch.randperm(samples, generator=stream("validation", seed)).to(data.train_y.device)
    held, kept = order[:count], order[count:].sort().values
    rest = replace(data, train_x=data.train_x[kept], train_y=data.train_y[kept])
    return rest, (data.train_x[held], data.train_y[held])
