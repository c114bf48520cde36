"""Alignments while a model trains: measured every so many steps, stored, and passed to logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from torch import nn

from tieless.diagnose.gradients.alignment import alignment
from tieless.diagnose.gradients.records import Agreement, AlignmentReport
from tieless.diagnose.watching.passes import Batch, Loss, places_of
from tieless.diagnose.watching.untouched import checked_seed
from tieless.errors import RuleTypeError, RuleValueError


@dataclass(frozen=True, slots=True)
class AlignmentRow:
    """One line of a log: ``Agreement`` without intervals, for a single batch.

    Args:
        step: Number of steps taken before.
        kind: Kind of vector: ``"weights"`` or ``"feedback"``.
        layer: Name of the layer; empty for the whole.
        cosine, sign_agreement, norm_ratio, deviation, norm, reference_norm: Figures of ``Agreement`` by the same names.
    """

    step: int
    kind: Literal["weights", "feedback"]
    layer: str
    cosine: float
    sign_agreement: float
    norm_ratio: float
    deviation: float
    norm: float
    reference_norm: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measurement of the monitor at one step.

    Args:
        step: Number of steps taken before.
        alignment: Alignment of the gradients of that step's batch; ``None`` if there is a problem.
        problem: Reason why nothing could be measured, such as a ``z`` without any spread before a step function;
            otherwise ``None``.
    Example:
        >>> from tieless.diagnose import AlignmentMonitor
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "constant"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> with AlignmentMonitor(net, torch.nn.functional.cross_entropy) as monitor:
        ...     measurement = monitor.step(batch)
        >>> round(measurement.alignment.whole.cosine, 1)
        0.9
        >>> [(row.kind, row.layer, round(row.cosine, 1)) for row in measurement.rows()]
        [('weights', '', 0.9), ('weights', '0', 0.6), ('weights', '2', 1.0), ('feedback', '', 0.7), ('feedback', '1', 0.7)]
    """

    step: int
    alignment: AlignmentReport | None
    problem: str | None = None

    def rows(self) -> list[AlignmentRow]:
        """Lines of a log: the whole, then each layer, of weights and of feedback."""
        if self.alignment is None:
            return []
        found = self.alignment
        weights = [_row(self.step, "weights", one) for one in (found.weights.whole, *found.weights.parts)]
        feedback = [_row(self.step, "feedback", one) for one in (found.feedback.whole, *found.feedback.parts)]
        return weights + feedback


def _row(step: int, kind: Literal["weights", "feedback"], one: Agreement) -> AlignmentRow:
    return AlignmentRow(
        step,
        kind,
        one.name,
        one.cosine,
        one.sign_agreement,
        one.norm_ratio,
        one.deviation,
        norm=one.norm,
        reference_norm=one.reference_norm,
    )


class AlignmentLog(Protocol):
    """Log of measurements: ``CsvLog``, ``TensorBoardLog``, or any object with these two methods."""

    def write(self, measurement: Measurement) -> None:
        """Take a measurement, as soon as it is made."""
        ...

    def close(self) -> None:
        """End the log: no measurements follow."""
        ...


class AlignmentMonitor:
    """Monitor that measures ``alignment`` every ``every`` steps of a training, on the batch of that step.

    The measurements do not change the training: parameters, buffers and random states are left as they were. A
    measurement takes about the time of three steps, so ``every=50`` costs 6 % of the training; the documentation has
    the measured times.

    Args:
        model: Model that is trained.
        loss_fn: Function ``loss_fn(model(inputs), targets)`` that gives a scalar.
        every: Number of steps from one measurement to the next; the first step is measured.
        logs: Logs that get the measurements, besides ``history``.
        sigma: Sigma of the smoothing; see ``alignment``.
        seed: Seed of everything random during a measurement.
        taken: Number of steps taken before, by a training that this one resumes.
    Raises:
        RuleTypeError, RuleValueError: the model is no module or has no activation, or a number is out of range. An
            error of the first measurement is raised too; later, a value that cannot be compared becomes the ``problem``
            of its measurement, so that no measurement ends a long training.
    Example:
        >>> from tieless.diagnose import AlignmentMonitor
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "full_jam"), torch.nn.Linear(32, 3))
        >>> optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> loss_fn = torch.nn.functional.cross_entropy
        >>> with AlignmentMonitor(net, loss_fn, every=2) as monitor:
        ...     for _ in range(4):
        ...         x, labels = torch.randn(16, 8), torch.randint(0, 3, (16,))
        ...         _ = monitor.step((x, labels))
        ...         optimiser.zero_grad()
        ...         loss_fn(net(x), labels).backward()
        ...         optimiser.step()
        >>> [measurement.step for measurement in monitor.history]
        [0, 2]
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss,
        *,
        every: int = 50,
        logs: Sequence[AlignmentLog] = (),
        sigma: float = 0.5,
        seed: int = 0,
        taken: int = 0,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(f"AlignmentMonitor: every must be an integer of 1 or more, got {every!r}.")
        if every < 1:
            raise RuleValueError(f"AlignmentMonitor: every must be 1 or more, got {every}.")
        checked_seed(seed)
        places_of(model, "AlignmentMonitor")
        self.every = every
        self._model, self._loss_fn, self._logs = model, loss_fn, tuple(logs)
        self._sigma, self._seed = sigma, seed
        self._steps = taken
        self._history: list[Measurement] = []

    @property
    def history(self) -> tuple[Measurement, ...]:
        """Measurements so far."""
        return tuple(self._history)

    def step(self, batch: Batch) -> Measurement | None:
        """Measure the alignment if it is due. Call this once a step, before the optimiser moves, with the step's batch.

        Args:
            batch: Pair ``(inputs, targets)``.
        Returns:
            Measurement, if one was due at this step; else ``None``.
        """
        step, self._steps = self._steps, self._steps + 1
        if step % self.every:
            return None
        try:
            found = alignment(self._model, self._loss_fn, batch, sigma=self._sigma, seed=self._seed + step)
            measurement = Measurement(step, found)
        except RuleValueError as problem:
            if step == 0:
                raise
            measurement = Measurement(step, None, str(problem))
        self._history.append(measurement)
        for log in self._logs:
            log.write(measurement)
        return measurement

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            log.close()

    def __enter__(self) -> AlignmentMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
