"""Metrics by which runs are judged: each has a direction, a unit in which claims are made, and a chance level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from tieless.errors import RuleTypeError, RuleValueError, SpecError, StudyError
from tieless.grammar import is_name
from tieless.registry import known_by_name, number, plain_number, positive_number, unknown
from tieless.study.settings.losses import Targets, aligned, classes_of, described, kind_of, name_for

ACCURACY = "accuracy"
POINT = "point"
"""Unit of fractions: a hundredth."""

MetricT = TypeVar("MetricT", bound=Callable[[Tensor, Tensor], Any])


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale of a metric's values, all that judging runs takes.

    Args:
        name: Name of the metric.
        higher: True if higher values are better.
        unit: Unit in which claims are made: ``"point"``, or a word of its own.
        step: Size of one unit, in values.
        counted: True if a value is a count of the test samples over their number, or as coarse as one.
    """

    name: str
    higher: bool
    unit: str
    step: float
    counted: bool

    @property
    def in_points(self) -> bool:
        """True for a fraction, which is shown in per cent."""
        return self.unit == POINT

    def of_units(self, amount: float) -> float:
        """Amount in units, as a difference of values."""
        return amount / 100 if self.in_points else amount * self.step

    def in_units(self, value: float) -> float:
        """Value, or a difference of two, in units."""
        return 100 * value if self.in_points else value / self.step

    def words(self, amount: float) -> str:
        """Unit behind a number."""
        return f"{self.unit}{'' if amount == 1 else 's'}" if self.in_points else self.unit

    def rank(self, value: float | None) -> float:
        """Number that is higher for a better value; none is the worst."""
        return -math.inf if value is None else value if self.higher else -value


@dataclass(frozen=True, slots=True)
class Metric(Scale):
    """Metric of a test set.

    Args:
        compute: Function (outputs, targets) -> value, over all samples.
        chance: Value as which a run counts that diverged, or the function of the training targets that gives it.
        only: Kind of targets that it takes; ``None`` if it takes both.
    """

    compute: Callable[[Tensor, Tensor], Any]
    chance: float | Callable[[Tensor], Any]
    only: Targets | None = None

    def of(self, outputs: Tensor, targets: Tensor) -> float:
        """Value on samples.

        Raises:
            StudyError: it is no finite number.
        """
        return _finite(f"The metric {self.name}", self.of_kind(outputs, targets))

    def of_kind(self, outputs: Tensor, targets: Tensor) -> float:
        """Value on samples, which may be NaN or infinite.

        Raises:
            StudyError: it is no number.
        """
        return _number(f"The metric {self.name}", self.compute(aligned(outputs, targets), targets))

    def chance_of(self, targets: Tensor) -> float:
        """Chance level where these are the training targets.

        Raises:
            StudyError: it is no finite number.
        """
        found: Any = self.chance(targets) if callable(self.chance) else self.chance
        return _finite(f"The chance level of {self.name}", _number(f"The chance level of {self.name}", found))


def _number(what: str, value: Any) -> float:
    plain = plain_number(value.item() if getattr(value, "ndim", None) == 0 else value)
    if plain is None:
        raise StudyError(f"{what} is {described(value)}: expected one number.")
    return float(plain)


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise StudyError(f"{what} is {value}: expected a finite number.")
    return value


_SEEN: dict[str, Scale] = known_by_name({})
"""Scales of metrics that stored studies tell of, whose code this process need not have."""


def scale_of(name: str) -> Scale:
    """Scale of a metric that is registered, or that a study which was read tells of.

    Raises:
        StudyError: there is no such metric.
    """
    found = METRICS.get(name) or _SEEN.get(name)
    if found is None:
        raise StudyError(f"{unknown('metric', name, METRICS)} If a file of yours registers it: --import FILE.py")
    return found


def units() -> list[str]:
    """Units of all metrics."""
    return list(dict.fromkeys(scale.unit for scale in (*METRICS.values(), *_SEEN.values())))


def written_scales(names: Iterable[str]) -> list[dict[str, Any]]:
    """Scales of metrics of the user's own, to be stored."""
    scales = (scale_of(name) for name in dict.fromkeys(names) if name not in _BUILT_IN)
    return [{f.name: getattr(scale, f.name) for f in fields(Scale)} for scale in scales]


def remember(scales: Iterable[Mapping[str, Any]]) -> None:
    """Take the scales that ``written_scales`` wrote."""
    _SEEN.update({scale["name"]: Scale(**scale) for scale in scales})


def register_metric(
    *,
    better: Literal["higher", "lower"],
    chance: float | Callable[[Tensor], Any],
    unit: str | None = None,
    step: float = 1.0,
    counted: bool | None = None,
) -> Callable[[MetricT], MetricT]:
    """Register a function of your own as a metric, by its name, for ``metric:`` in a study file.

    It is called with the outputs for all test samples and their targets, and returns one number. For numbers to predict
    the outputs have the shape of the targets.

    Args:
        better: Direction: ``"higher"`` or ``"lower"`` values are better.
        chance: Value as which a run counts that diverged: a number, or a function of the training targets.
        unit: Unit in which claims are made: ``"point"``, a hundredth, for fractions; by default the metric's name.
        step: Size of one unit; that of a point is 0.01.
        counted: True if a value is a count of the test samples over their number, so that this number limits what a
            difference can show; by default for metrics in points.
    Returns:
        Decorator that returns the function as it is.
    Raises:
        SpecError: the name is that of another metric, or it or the unit is no name that a file can hold.
        RuleTypeError, RuleValueError: an argument has the wrong type or is out of range.
    Example:
        >>> @register_metric(better="lower", chance=lambda targets: (targets - targets.median()).abs().max())
        ... def worst_error(outputs, targets):
        ...     return (outputs - targets).abs().max()
    """
    if better not in ("higher", "lower"):
        raise RuleValueError(f"register_metric: better must be 'higher' or 'lower', got {better!r}.")
    if not callable(chance):
        number("chance", chance)
    size = 0.01 if unit == POINT else float(positive_number("step", step))
    if unit is not None and not is_name(unit):
        raise SpecError(f"A claim cannot hold the unit {unit!r}: take letters, digits and '_', a letter first.")

    def register(function: MetricT) -> MetricT:
        if isinstance(function, type):
            raise RuleTypeError(f"Register a function as a metric, got the class {function.__name__}.")
        name = name_for("metric", function, {known: metric.compute for known, metric in METRICS.items()})
        coarse = unit == POINT if counted is None else counted
        METRICS[name] = Metric(name, better == "higher", unit or name, size, coarse, function, chance)
        return function

    return register


def _accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    return (classes_of(outputs) == labels).double().mean()


def _one_of_all(labels: Tensor) -> float:
    return 1 / (int(labels.max()) + 1)


def _macro_f1(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over classes of ``2 TP / (2 TP + FP + FN)``: the classes among the labels and the predictions."""
    predicted, true = classes_of(outputs).flatten(), labels.flatten()
    size = int(torch.maximum(predicted.max(), true.max())) + 1
    hits = true[predicted == true].bincount(minlength=size)
    total = predicted.bincount(minlength=size) + true.bincount(minlength=size)
    there = total > 0
    return (2 * hits[there].double() / total[there]).mean()


def _macro_f1_of_guesses(labels: Tensor) -> Tensor:
    """Macro F1 of guesses that take each class alike."""
    counts = labels.flatten().bincount()
    share = counts[counts > 0].double() / labels.numel()
    guess = 1 / len(share)
    return (2 * share * guess / (share + guess)).mean()


def _error(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.double() - targets.double()


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return _error(outputs, targets).square().mean()


def _mae(outputs: Tensor, targets: Tensor) -> Tensor:
    return _error(outputs, targets).abs().mean()


def _r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """Coefficient of determination, of several targets the mean."""
    left = _error(outputs, targets).square().sum(0)
    return (1 - left / _from_the_mean(targets).square().sum(0)).mean()


def _from_the_mean(targets: Tensor) -> Tensor:
    return targets.double() - targets.double().mean(0)


def _mse_of_the_mean(targets: Tensor) -> Tensor:
    return _from_the_mean(targets).square().mean()


def _mae_of_the_mean(targets: Tensor) -> Tensor:
    return _from_the_mean(targets).abs().mean()


METRICS = known_by_name(
    {
        metric.name: metric
        for metric in (
            Metric(ACCURACY, True, POINT, 0.01, True, _accuracy, _one_of_all, "classes"),
            Metric("macro_f1", True, "macro_f1", 1.0, True, _macro_f1, _macro_f1_of_guesses, "classes"),
            Metric("mae", False, "mae", 1.0, False, _mae, _mae_of_the_mean, "numbers"),
            Metric("mse", False, "mse", 1.0, False, _mse, _mse_of_the_mean, "numbers"),
            Metric("r2", True, "r2", 1.0, False, _r2, 0.0, "numbers"),
        )
    }
)
_BUILT_IN = frozenset(METRICS)


def check_kind(what: Literal["loss", "metric"], name: str, only: Targets | None, data: str, targets: Tensor) -> None:
    """Check that a loss or a metric takes the targets of a data set.

    Raises:
        StudyError: it does not. The message says what to write.
    """
    kind = kind_of(targets)
    if only is None or only == kind:
        return
    has, takes = ("numbers to predict", "classes") if kind == "numbers" else ("classes", "numbers")
    write = {
        ("loss", "numbers"): "'loss: mse', or l1 or huber",
        ("loss", "classes"): "'loss: cross_entropy'",
        ("metric", "numbers"): "'metric: mse', or mae or r2",
        ("metric", "classes"): "'metric: accuracy', or macro_f1",
    }[what, kind]
    raise StudyError(f"{data} has {has}, and the {what} {name} takes {takes}: write {write}.")
