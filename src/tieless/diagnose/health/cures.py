"""Diagnosis from measurements, and for each problem a rule that should cure it; the rules are tried elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from tieless.diagnose.explaining.printed import percent
from tieless.diagnose.health.records import Cause, Finding, LayerHealth
from tieless.diagnose.slopes.gate import gate_of
from tieless.diagnose.watching.sites import Place
from tieless.forwards import Forward
from tieless.rules import Frozen, Normalize, Rectangular, RectangularJam, Rule

LEAST_LIVE = 0.1
"""Least fraction of live elements: with a window that fits, nine of ten are live."""

MOST_CONSTANT = 0.5
"""Largest fraction of units whose output says nothing about the input."""

LEAST_RATIO, MOST_RATIO = 0.5, 2.0
"""Bounds of the gradient ratio of one layer: a factor of two in each of ten layers makes a thousand."""

LEAST_PASSAGE, MOST_PASSAGE = 1e-2, 1e2
"""Bounds from the last activation to the first: only beyond them is the gradient called vanishing or exploding."""


def findings(healths: Sequence[LayerHealth], rules: Mapping[str, Rule]) -> list[Finding]:
    """Problems of the activations, at most one cause for each: the one that explains the others.

    Args:
        healths: Health of the activations, in the order of the forward pass.
        rules: Rules by name. A ``frozen`` rule sends nothing on purpose, which is no finding.
    """
    asked = [h for h in healths if not any(isinstance(part, Frozen) for part in rules[h.name].parts())]
    # The gradient passed from the last to the first says nothing about the others while one between them blocks.
    passage = 1.0 if any(_blocked(health) for health in asked) else _passage(healths)
    stops = [health.name for health in healths if health.arrives and not health.live]
    causes = [(health, _not_finite(health) or _blocked(health, stops) or _weak(health, passage)) for health in asked]
    return [Finding(health.name, *cause) for health, cause in causes if cause is not None]


def _not_finite(health: LayerHealth) -> tuple[Cause, str] | None:
    if all(map(math.isfinite, (health.mean, health.spread, health.received, health.sent))):
        return None
    fed = f"it receives {health.received:.1e} and sends {health.sent:.1e}"
    return "not finite", f"z is {health.mean:.3g} +- {health.spread:.3g}; {fed}"


def _blocked(health: LayerHealth, stops: Sequence[str] = ()) -> tuple[Cause, str] | None:
    # The range of z does not depend on the incoming gradient, so it is judged first: all windows are mended at once.
    if health.saturated > 1 - LEAST_LIVE or health.live < LEAST_LIVE * health.arrives:
        return _too_little(health)
    told = f"; {', '.join(name or '(the model)' for name in stops)} above receives some and sends none" if stops else ""
    return None if health.arrives else ("nothing arrives", f"no feedback comes from above{told}")


def _weak(health: LayerHealth, passage: float) -> tuple[Cause, str] | None:
    if passage < LEAST_PASSAGE and (health.ratio is None or health.ratio < LEAST_RATIO):
        return "vanishing", _adds_up(health, passage, "of")
    if passage > MOST_PASSAGE and (health.ratio is None or health.ratio > MOST_RATIO):
        return "exploding", _adds_up(health, passage, "times")
    if health.constant is not None and health.constant > MOST_CONSTANT:
        return "constant outputs", f"{percent(health.constant)} of its units give one output for the whole batch"
    return None


def _adds_up(health: LayerHealth, passage: float, of: str) -> str:
    whole = f"the first sends {passage:.1g} {of} what the last sends"
    # The last has no next one; but if it stayed as it is, all others would be measured against it again.
    return (
        f"it is the last, and {whole}" if health.ratio is None else f"{health.ratio:.2g} {of} the next one's; {whole}"
    )


def _too_little(health: LayerHealth) -> tuple[Cause, str]:
    if math.isnan(health.window[0] or 0.0):
        return "sends nothing", "the rule lets nothing through anywhere"
    if health.saturated <= 1 - LEAST_LIVE:
        inside = f"the window, {interval(health.window)}, holds {percent(1 - health.saturated)} of z"
        return "sends nothing", f"{inside}, but another part of the rule stops all but {percent(health.live)}"
    spread = f"z is {health.mean:.3g} +- {health.spread:.3g}, the window {interval(health.window)}"
    return "outside the window", f"{percent(health.saturated)} of z have under 1 % of the greatest slope; {spread}"


def proposal(cause: Cause, site: Place, rule: Rule, health: LayerHealth) -> Rule | None:
    """Rule of the same kind that should cure the cause; ``None`` if a rule cannot."""
    if cause in {"vanishing", "exploding"}:
        # Not for each sample: the relative gradient norms of samples are worth over a percentage point of accuracy.
        return rule if isinstance(rule.parts()[-1], Normalize) else rule >> Normalize(per="tensor")
    if cause == "outside the window":
        return _chained([_widened(part, site.forward, health) for part in rule.parts()])
    if cause == "sends nothing":
        return _rectangle(health)
    return None


def is_cured(cause: Cause, name: str, before: Sequence[LayerHealth], after: Sequence[LayerHealth]) -> bool:
    """True if the cause is gone; for a cause that adds up over the layers, if it adds up to less."""
    if cause in {"vanishing", "exploding"}:
        return abs(_decades(_passage(after))) < abs(_decades(_passage(before)))
    is_now = next(layer for layer in after if layer.name == name)
    return _blocked(is_now) is None


def _passage(healths: Sequence[LayerHealth]) -> float:
    """Quotient of the gradients that the first and the last activation pass down, of those that pass any."""
    sending = [health.sent for health in healths if health.sent]
    return sending[0] / sending[-1] if sending else 0.0


def _decades(factor: float) -> float:
    return math.log10(factor) if factor else -math.inf


def _widened(part: Rule, forward: Forward, health: LayerHealth) -> Rule:
    """Slope or jam with a window that holds nine tenths of ``z``."""
    if part.family == "transform":
        return part
    low, high = _outward(health)
    kind: Any = type(part)  # a dataclass, of which pyright knows only that it is a rule
    named = {field.name: getattr(part, field.name) for field in fields(part)}
    if {"low", "high"} <= named.keys():
        return kind(**{**named, "low": low, "high": high})
    if "width" in named:
        region = gate_of(forward, part)
        middle = (_ends(health.window)[0] + _ends(health.window)[1]) / 2
        reach = (_ends(health.window)[1] - _ends(health.window)[0]) / 2
        wanted = max(abs(low - middle), abs(high - middle))
        if region.feedback is not None and math.isfinite(reach) and reach > 0:
            return kind(**{**named, "width": _rounded_up(named["width"] * wanted / reach)})
    if part.family == "jam":
        kept = {name: named[name] for name in ("minimum", "maximum", "replace") if name in named}
        return RectangularJam(low, high, **kept)
    return Rectangular(low, high)


def _rectangle(health: LayerHealth) -> Rule:
    return Rectangular(*_outward(health))


def _chained(parts: Sequence[Rule]) -> Rule:
    chain = parts[0]
    for part in parts[1:]:
        chain >>= part
    return chain


def _ends(window: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = window
    return -math.inf if low is None else low, math.inf if high is None else high


def _outward(health: LayerHealth) -> tuple[float, float]:
    """Bounds below and above nine tenths of ``z``, in two digits; around a single value, one on each side."""
    low, high = health.low, health.high
    if high - low < 1e-6 * max(abs(low), abs(high), 1.0):
        low, high = low - 1.0, high + 1.0
    return -_rounded_up(-low), _rounded_up(high)


def _rounded_up(value: float) -> float:
    """Next number of two digits that is no smaller.

    Example:
        >>> from tieless.diagnose.health.cures import _rounded_up
        >>> _rounded_up(1.234), _rounded_up(-1.234), _rounded_up(0.0)
        (1.3, -1.2, 0.0)
    """
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.2g}")


def interval(window: tuple[float | None, float | None]) -> str:
    """Words for a window."""
    low, high = window
    if low is None and high is None:
        return "everywhere"
    if math.isnan(low or 0.0):
        return "nowhere"
    if low is None:
        return f"z <= {high:.3g}"
    if high is None:
        return f"z >= {low:.3g}"
    return f"{low:.3g} <= z <= {high:.3g}"
