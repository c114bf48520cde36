"""``descent``: a direct test that a small step along the untied gradient lowers the loss, without any theory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tieless._table import aligned
from tieless.diagnose.explaining.printed import NOTHING
from tieless.diagnose.gradients.estimates import Interval, mean_and_interval
from tieless.diagnose.gradients.references import checked, checked_confidence, smoothed, tied_or, words_for
from tieless.diagnose.watching.passes import (
    Batch,
    Loss,
    batches_of,
    loss_on,
    places_of,
    run_pass,
    running,
    weights_of,
)
from tieless.diagnose.watching.sites import Place
from tieless.diagnose.watching.untouched import checked_seed
from tieless.errors import RuleValueError
from tieless.registry import positive_number

LENGTHS = (1e-4, 1e-3, 1e-2)

TITLES = ("step", "untied", "tied", "untied over tied", "falls")
"""Head of each column."""


@dataclass(frozen=True, slots=True)
class DescentStep:
    """Effect of a step of one length on the loss of its own batch.

    Args:
        length: Length of the step, relative to that of all parameters together.
        untied, tied: Change of the loss, mean over batches: along the untied gradient, and along the reference.
        untied_interval, tied_interval: Confidence intervals, from low to high; ``None`` for one batch.
        ratio: Quotient of ``untied`` and ``tied``: 1 if the untied step is as good, below 0 if it raises the loss
            instead.
        falls: Fraction of the batches whose loss the untied step lowers.
    """

    length: float
    untied: float
    tied: float
    untied_interval: Interval | None
    tied_interval: Interval | None
    ratio: float
    falls: float


@dataclass(frozen=True, slots=True)
class Descent:
    """Result of ``descent``. ``print`` shows it as a table.

    Args:
        model: Name of the model's class.
        loss: Loss before any step, mean over batches.
        steps: Effects of the steps, one for each length.
        references: Substitute for each activation whose forward has no derivative, by name.
        batches: Number of batches.
        confidence: Confidence level of the intervals.
    Example:
        >>> from tieless.diagnose import descent
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "full_jam"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> found = descent(net, torch.nn.functional.cross_entropy, batch)
        >>> [(step.length, round(step.ratio, 1), step.falls) for step in found.steps]
        [(0.0001, 0.9, 1.0), (0.001, 0.9, 1.0), (0.01, 0.9, 1.0)]
    """

    model: str
    loss: float
    steps: tuple[DescentStep, ...]
    references: tuple[tuple[str, str], ...]
    batches: int
    confidence: float

    def __str__(self) -> str:
        rows = [
            [
                f"{step.length:g}",
                _with(step.untied, step.untied_interval),
                _with(step.tied, step.tied_interval),
                NOTHING if math.isnan(step.ratio) else f"{step.ratio:.3f}",
                f"{100 * step.falls:.0f} %",
            ]
            for step in self.steps
        ]
        words = [f"Change of the loss, {self.loss:.4g} before, by a step of this length over that of all parameters."]
        words += [f"The reference at {name or '(the model)'}: {what}." for name, what in self.references]
        return "\n".join([*aligned([TITLES, *rows]), "", *words])


def _with(mean: float, interval: Interval | None) -> str:
    return f"{mean:.2e}" if interval is None else f"{mean:.2e} +- {(interval[1] - interval[0]) / 2:.1e}"


def descent(
    model: nn.Module,
    loss_fn: Loss,
    batch: Batch | Iterable[Batch],
    *,
    lengths: Sequence[float] = LENGTHS,
    sigma: float = 0.5,
    confidence: float = 0.95,
    seed: int = 0,
) -> Descent:
    """Step against the untied gradient and equally far against the tied one, and compare the changes of the loss.

    The change is ``loss(theta - r |theta| g / |g|) - loss(theta)``, for each length ``r`` and each gradient ``g``, on
    the batch that the gradient is from. The loss is that of the model itself, with its step functions, and dropout
    draws the same throughout; so the untied side of this test needs no reference. The tied side of a flat forward is
    the gradient of its smoothed twin, see ``alignment``. The model is left as it was, bit for bit.

    Args:
        model, loss_fn, batch: Arguments as for ``alignment``.
        lengths: Lengths of the steps, relative to that of all parameters together; positive.
        sigma: Sigma of the smoothing, in standard deviations of ``z``.
        confidence: Confidence level of the intervals, which are Student's, over batches.
        seed: Seed of everything random.
    Returns:
        Record that prints as a table.
    Raises:
        RuleTypeError, RuleValueError: as ``alignment``; or a length is not positive.
    Example:
        >>> from tieless.diagnose import descent
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "full_jam"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> step = descent(net, torch.nn.functional.cross_entropy, batch).steps[1]
        >>> step.untied < 0, step.tied < step.untied, round(step.ratio, 1)
        (True, True, 0.9)
    """
    checked("smoothed", sigma)
    checked_confidence(confidence)
    checked_seed(seed)
    for length in lengths:
        positive_number("A length of a step", length)
    places = places_of(model, "descent")
    if not weights_of(model, places):
        raise RuleValueError(
            f"descent: no parameter of {type(model).__name__} requires a gradient, so there is no step."
        )
    before: list[float] = []
    changes: list[list[tuple[float, float]]] = []
    references: tuple[tuple[str, str], ...] = ()
    for number, one in enumerate(batches_of(batch)):
        loss_of = loss_on(loss_fn, one)
        seen = run_pass(model, places, loss_of, {}, seed=seed + number)
        others, blur = smoothed(places, seen, sigma)
        tied = run_pass(model, places, loss_of, tied_or(places, others), seed=seed + number, tied=True)
        references = references or words_for(places, blur, "smoothed", sigma, 0)
        loss = _loss_at(model, places, loss_of, {}, seed + number)
        before.append(loss)
        changes.append(
            [
                (
                    _loss_at(model, places, loss_of, _stepped(model, seen.weights, length), seed + number) - loss,
                    _loss_at(model, places, loss_of, _stepped(model, tied.weights, length), seed + number) - loss,
                )
                for length in lengths
            ]
        )
    steps = [_step(length, [change[place] for change in changes], confidence) for place, length in enumerate(lengths)]
    name = type(model).__name__
    return Descent(name, sum(before) / len(before), tuple(steps), references, len(before), confidence)


def _step(length: float, changes: Sequence[tuple[float, float]], confidence: float) -> DescentStep:
    untied, untied_interval = mean_and_interval([change for change, _ in changes], confidence)
    tied, tied_interval = mean_and_interval([change for _, change in changes], confidence)
    falls = sum(change < 0 for change, _ in changes) / len(changes)
    return DescentStep(length, untied, tied, untied_interval, tied_interval, untied / tied if tied else math.nan, falls)


def _stepped(model: nn.Module, gradient: Mapping[str, Tensor], length: float) -> dict[int, Tensor]:
    """Values after the step of those parameters whose gradient is not 0, by the parameter's ``id``."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters() if name in gradient}
    size, steep = _length(list(parameters.values())), _length(list(gradient.values()))
    if not steep or not math.isfinite(steep):
        return {}
    by = length * size / steep
    own = dict(model.named_parameters())
    return {id(own[name]): parameter - by * gradient[name] for name, parameter in parameters.items()}


def _length(parts: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float((part.double() ** 2).sum()) for part in parts))


def _loss_at(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: Callable[[nn.Module], Tensor],
    others: Mapping[int, Tensor],
    seed: int,
) -> float:
    """Loss with other numbers in place of the parameters, which `running` restores."""
    with running(model, places, {}, seed=seed), torch.no_grad():
        for module in list(model.modules()):
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) in others:
                    setattr(module, name, nn.Parameter(others[id(parameter)], requires_grad=False))
        return float(loss_of(model))
