"""Agreement of untied gradients with tied ones, as frozen values that print as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tieless._table import aligned
from tieless.diagnose.explaining.printed import NOTHING
from tieless.diagnose.gradients.estimates import Interval

TITLES = ("", "cosine", "signs", "norm ratio", "deviation", "norm", "reference")
"""Head of each column."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One untied vector ``u`` compared with its reference ``t``: means over batches, and their intervals.

    An interval is ``None`` for one batch alone. Two vectors of zeros agree fully; if one of the two is a vector of
    zeros, the cosine is 0. If there is nothing to compare, for example if no parameter requires a gradient, the first
    four figures are NaN.

    Args:
        name: Name of the layer or the activation; empty for the whole.
        elements: Number of elements in the vector, over all calls.
        cosine: Cosine ``u . t / (|u| |t|)``.
        sign_agreement: Fraction of equal signs among the elements at which not both are 0; 0 counts as a sign of its
            own.
        norm_ratio: Quotient ``|u| / |t|``.
        deviation: Relative deviation ``|u - t| / |t|``.
        cosine_interval, sign_agreement_interval, norm_ratio_interval, deviation_interval: Confidence intervals, from
            low to high.
        norm, reference_norm: Norms ``|u|`` and ``|t|``.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "tied >> scale(2)"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> layer = tl.alignment(net, torch.nn.functional.cross_entropy, batch).layers["0"]
        >>> round(layer.cosine, 3), round(layer.norm_ratio, 3), round(layer.deviation, 3)
        (1.0, 2.0, 1.0)
    """

    name: str
    elements: int
    cosine: float
    sign_agreement: float
    norm_ratio: float
    deviation: float
    cosine_interval: Interval | None
    sign_agreement_interval: Interval | None
    norm_ratio_interval: Interval | None
    deviation_interval: Interval | None
    norm: float
    reference_norm: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Vectors of one kind, each compared with its reference.

    Args:
        whole: All vectors as one.
        parts: Single vectors, in the order of the model.
    """

    whole: Agreement
    parts: tuple[Agreement, ...]

    @property
    def layers(self) -> Mapping[str, Agreement]:
        """Single vectors by their names."""
        return {part.name: part for part in self.parts}


@dataclass(frozen=True, slots=True)
class AlignmentReport:
    """Result of ``alignment``. ``print`` shows it as a table.

    Args:
        model: Name of the model's class.
        weights: Gradients of the parameters, layer by layer.
        feedback: Gradients that each activation passes down, at its input.
        references: Substitute for each activation whose forward has no derivative, by name.
        batches: Number of batches.
        confidence: Confidence level of the intervals.
        loss: Loss, mean over the batches.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("heaviside", "rectangular"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> report = tl.alignment(net, torch.nn.functional.cross_entropy, batch)
        >>> round(report.layers["0"].cosine, 1), round(report.feedback.layers["1"].cosine, 1)
        (0.9, 0.9)
        >>> report.references
        (('1', 'the forward smoothed by normal noise, with its derivative, sigma 0.321'),)
    """

    model: str
    weights: Comparison
    feedback: Comparison
    references: tuple[tuple[str, str], ...]
    batches: int
    confidence: float
    loss: float

    @property
    def whole(self) -> Agreement:
        """Agreement of the gradient of all parameters as one vector."""
        return self.weights.whole

    @property
    def layers(self) -> Mapping[str, Agreement]:
        """Agreement of the gradients of each layer's parameters, by the layer's name."""
        return self.weights.layers

    def __str__(self) -> str:
        table = aligned(rows_of(self))
        return "\n".join([*table, "", *self.notes()])

    def notes(self) -> list[str]:
        """Notes on the meaning of the table, a line each."""
        several = f"Means over {self.batches} batches, with {100 * self.confidence:g} % intervals."
        lines = [several if self.batches > 1 else "One batch: no intervals."]
        if not self.whole.elements:
            lines.append("No parameter requires a gradient: of weights there is nothing to compare.")
        if not self.references:
            lines.append("The reference is the tied gradient.")
        lines += [f"The reference at {name or '(the model)'}: {what}." for name, what in self.references]
        return lines


def rows_of(found: AlignmentReport) -> list[list[str]]:
    """Rows of the table: weights, then feedback, each with its whole last."""
    rows = [["weights of", *TITLES[1:]]]
    rows += [_cells(part) for part in (*found.weights.parts, found.weights.whole)]
    rows.append(["feedback of", *[""] * (len(TITLES) - 1)])
    rows += [_cells(part) for part in (*found.feedback.parts, found.feedback.whole)]
    return rows


def _cells(one: Agreement) -> list[str]:
    return [
        one.name or "(all)",
        _with(one.cosine, one.cosine_interval),
        _with(one.sign_agreement, one.sign_agreement_interval),
        _with(one.norm_ratio, one.norm_ratio_interval),
        _with(one.deviation, one.deviation_interval),
        f"{one.norm:.2e}",
        f"{one.reference_norm:.2e}",
    ]


def _with(mean: float, interval: Interval | None) -> str:
    if math.isnan(mean):
        return NOTHING
    number = f"{mean:.3f}" if abs(mean) < 100 else f"{mean:.2e}"
    if interval is None or not math.isfinite(interval[1] - interval[0]):
        return number
    half = (interval[1] - interval[0]) / 2
    return f"{number} +- {0.0 if half < 1e-9 else half:.2g}"
