"""Every forward, by its docstring: its value, and the gradient that ``tied`` sends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.judge.numbers import FORMATS, Array, Format, Near, arithmetic, uniform

__all__ = ["FORWARDS", "FORWARD_STREAM", "Call", "Judged", "below", "channel_mean", "erfc", "gelu", "sigma", "softplus"]

FORWARD_STREAM = 2**31 - 1
"""The Philox stream of a forward that draws."""


@dataclass(frozen=True)
class Call:
    """One call of an activation.

    Args:
        z: Pre-activation, numbers of ``dtype`` in float64.
        dtype: Name of its format.
        key: Key of the call, for halves that draw.
        parameters: Parameters of the forward.
    """

    z: Array
    dtype: str
    key: int | None
    parameters: dict[str, float | str]

    @property
    def arithmetic(self) -> Format:
        return arithmetic(self.dtype)

    @property
    def format(self) -> Format:
        return FORMATS[self.dtype]

    def near(self, units: float = 1) -> Near:
        """Input ``z`` under the arithmetic's operations, which may be off by so many units."""
        return Near(self.z, None, self.arithmetic, units)

    def constant(self, value: float) -> Near:
        return Near(np.full(self.z.shape, self.arithmetic.nearest(np.float64(value))), None, self.arithmetic, 0)

    def edge(self, name: str) -> float:
        """Parameter that ``z`` is compared with: rounded to the dtype of ``z``."""
        return float(self.format.nearest(np.float64(self.parameters[name])))

    def number(self, name: str) -> float:
        """Parameter that is computed with: rounded to the dtype of the computing."""
        return float(self.arithmetic.nearest(np.float64(self.parameters[name])))


@dataclass(frozen=True)
class Judged:
    """Forward by its formula.

    Args:
        value: Output ``y`` before it is rounded to the dtype of ``z``.
        slope: Multiplier of ``tied``, given the call and ``y`` after rounding; None if flat.
        parameters: Names and defaults; None has none.
    """

    value: Callable[[Call], Near]
    slope: Callable[[Call, Near], Near] | None = None
    parameters: dict[str, float | str | None] = field(default_factory=dict)


erfc = np.vectorize(math.erfc, otypes=[float])


def sigma(z: Array) -> Array:
    """Logistic function, without overflow and without cancellation on the left."""
    fallen = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, fallen) / (1 + fallen)


_ROOT, _REST = 0.7071067811865476, -4.833646656726457e-17
"""Square root of 1/2, and its remainder beyond float64."""
_SPLIT = 2.0**27 + 1


def below(z: Array) -> Array:
    """Normal distribution function, to the last places also where ``z / sqrt(2)``, rounded, would cost some."""
    product = z * _ROOT
    high, half = (x * _SPLIT - (x * _SPLIT - x) for x in (z, np.float64(_ROOT)))
    error = ((high * half - product) + high * (_ROOT - half) + (z - high) * half) + (z - high) * (_ROOT - half)
    error = np.where(np.isfinite(z), error + z * _REST, 0)
    return erfc(-product) / 2 + np.exp(-np.square(product)) / math.sqrt(math.pi) * error


def gelu(z: Array) -> Array:
    return z * below(z)


def softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _known(call: Call, exact: Array, units: float, vanishing: float = 2) -> Near:
    """Function that is known to float64, from one that may be off by units in the last place."""
    own = 4 * FORMATS["float64"].unit(exact)  # of the judge itself
    return Near(exact - own, exact + own, call.arithmetic).monotone(lambda x: x, units, vanishing)


def _exact(function: Callable[[Call], Array]) -> Callable[[Call], Near]:
    """Value that is one of few, or that of a comparison; NaN stays NaN."""
    return lambda call: Near(np.where(np.isnan(call.z), np.nan, function(call)), None, call.arithmetic, 0)


def _two(inside: Callable[[Call], Array], high: Callable[[Call], float], low: Callable[[Call], float]):
    """Slope of two values."""
    return lambda call, y: call.constant(high(call)).where(inside(call), call.constant(low(call)))


def _one(call: Call) -> float:
    return 1.0


def _zero(call: Call) -> float:
    return 0.0


def _round_of(function: Callable[[Array], Array]) -> Judged:
    return Judged(_exact(lambda call: function(call.z)))


def _leaky(call: Call) -> Near:
    z = call.near(0)
    return z.where(call.z > 0, z * call.number("negative_slope"))


def _elu(call: Call) -> Near:
    alpha = call.number("alpha")
    z = call.near()
    below = z.monotone(lambda x: np.expm1(np.minimum(x, 0))) * alpha
    return z.where(call.z > 0, below)


def _elu_slope(call: Call, y: Near) -> Near:
    return call.constant(1).where(call.z > 0, y + call.number("alpha"))


def _silu_slope(call: Call, y: Near) -> Near:
    z = call.near()
    s = z.monotone(sigma)
    return s * (1 + z * (1 - s))


def _gelu_slope(call: Call, y: Near) -> Near:
    z = call.near()
    normal = (1 + (z / math.sqrt(2)).monotone(lambda x: 1 - erfc(x)).loose(2)) * 0.5
    density = (z.square() * -0.5).monotone(np.exp) / math.sqrt(2 * math.pi)
    return normal + z * density


def _mean_magnitude(call: Call, dim: int | None) -> Near:
    """Mean magnitude ``mean|z|`` over all dimensions but ``dim``, in the arithmetic's format."""
    kept = set() if dim is None or call.z.ndim == 0 else {dim % call.z.ndim}
    dims = tuple(i for i in range(call.z.ndim) if i not in kept)
    count = math.prod(call.z.shape[i] for i in dims)
    return call.near().abs().total(dims) / max(count, 1)


def channel_mean(call: Call, dim: float | str) -> Near:
    """Mean magnitude of the channel, as a number of the dtype of ``z``."""
    if call.z.ndim and not -call.z.ndim <= int(dim) < call.z.ndim:
        raise IndexError(dim)
    return _mean_magnitude(call, int(dim))


def _magnitude_aware_sign(call: Call) -> Near:
    signs = np.where(np.isnan(call.z), np.nan, np.where(call.z >= 0, 1.0, -1.0))
    mean = channel_mean(call, call.parameters["dim"])
    return mean * Near(signs, None, call.arithmetic, 0)


def _ternary_weight(call: Call) -> Near:
    threshold = _mean_magnitude(call, None) * call.number("factor")
    threshold = threshold.to(call.format).widened(
        call.format.nearest(threshold.low), call.format.nearest(threshold.high), 1
    )
    size, signs = np.abs(call.z), Near(np.sign(call.z), None, call.arithmetic, 0)
    return signs.either(size > threshold.high, size > threshold.low, 0.0)


def _bernoulli(call: Call) -> Near:
    scaled = call.z / float(call.parameters["width"])
    chance = np.clip(scaled, 0, 1) if call.parameters["chance"] == "clamp" else sigma(scaled)
    drawn = uniform(call.z.shape, call.key, FORWARD_STREAM)
    fires = Near(np.ones(call.z.shape), None, call.arithmetic, 0)
    doubt = 0 if call.parameters["chance"] == "clamp" else 1e-14
    return fires.either(drawn < chance - doubt, drawn < chance + doubt, 0.0)


def _quantize(call: Call) -> Near:
    step = call.number("step")
    z = call.near(0)
    with np.errstate(over="ignore"):
        turns = z / step
        y = turns.monotone(np.rint) * step
    return y.where(np.isfinite(turns.low) | ~np.isfinite(call.z), z)


def _staircase(low: float, scale: Callable[[Call], float]) -> Callable[[Call], Near]:
    def value(call: Call) -> Near:
        steps = scale(call)
        return (call.near(0).clipped(low, 1) * steps).monotone(np.rint) / steps

    return value


def _sawtooth(call: Call) -> Near:
    turns = call.near(0) / call.number("period")
    return (turns - (turns + 0.5).monotone(np.floor)) * 2


def _square_wave(call: Call) -> Near:
    turns = call.near(0) / call.number("period")
    phase = (turns - turns.monotone(np.floor)).low
    return Near(np.where(np.isnan(phase), np.nan, np.where(phase < 0.5, 1.0, -1.0)), None, call.arithmetic, 0)


def _hard_sigmoid(call: Call) -> Near:
    return (call.near(0) + 3).clipped(0, 6).loose() / 6


FORWARDS: dict[str, Judged] = {
    "abs": Judged(
        _exact(lambda call: np.abs(call.z)),
        _two(lambda call: call.z < 0, lambda call: -1.0, _one),
    ),
    "bernoulli": Judged(_bernoulli, parameters={"width": 1.0, "chance": "logistic"}),
    "ceil": _round_of(np.ceil),
    "clamp": Judged(
        _exact(lambda call: np.clip(call.z, call.edge("low"), call.edge("high"))),
        _two(lambda call: (call.edge("low") <= call.z) & (call.z <= call.edge("high")), _one, _zero),
        {"low": -1.0, "high": 1.0},
    ),
    "elu": Judged(_elu, _elu_slope, {"alpha": 1.0}),
    "floor": _round_of(np.floor),
    "gelu": Judged(lambda call: _known(call, gelu(call.z), 8, 128), _gelu_slope),
    "hard_sigmoid": Judged(_hard_sigmoid, _two(lambda call: (call.z > -3) & (call.z < 3), lambda call: 1 / 6, _zero)),
    "hard_tanh": Judged(
        _exact(lambda call: np.clip(call.z, -1, 1)), _two(lambda call: (call.z > -1) & (call.z < 1), _one, _zero)
    ),
    "heaviside": Judged(
        _exact(lambda call: np.where(call.z == 0, call.parameters["at_zero"], (call.z > 0) * 1.0)),
        parameters={"at_zero": 0.0},
    ),
    "leaky_relu": Judged(
        _leaky,
        _two(lambda call: call.z > 0, _one, lambda call: call.number("negative_slope")),
        {"negative_slope": 0.01},
    ),
    "linear": Judged(lambda call: call.near(0), lambda call, y: call.constant(1)),
    "logistic": Judged(lambda call: _known(call, sigma(call.z), 4), lambda call, y: y * (1 - y)),
    "magnitude_aware_sign": Judged(_magnitude_aware_sign, parameters={"dim": 0.0}),
    "quantize": Judged(_quantize, parameters={"step": 1.0}),
    "relu": Judged(_exact(lambda call: np.maximum(call.z, 0)), _two(lambda call: call.z > 0, _one, _zero)),
    "relu6": Judged(
        _exact(lambda call: np.clip(call.z, 0, 6)), _two(lambda call: (call.z > 0) & (call.z < 6), _one, _zero)
    ),
    "round": _round_of(np.rint),
    "round_to_zero": _round_of(np.trunc),
    "sawtooth": Judged(
        _sawtooth, lambda call, y: call.constant(2 / call.parameters["period"]).loose(), {"period": 2.0}
    ),
    "sign": Judged(_exact(lambda call: np.where(call.z >= 0, 1.0, -1.0))),
    "signed_staircase": Judged(_staircase(-1, lambda call: call.number("steps")), parameters={"steps": None}),
    "silu": Judged(lambda call: _known(call, call.z * sigma(call.z), 4, 128), _silu_slope),
    "softplus": Judged(
        lambda call: _known(call, np.where(call.z > 20, call.z, softplus(call.z)), 4),
        lambda call, y: -((-y).monotone(np.expm1)),
    ),
    "spike_count": Judged(
        lambda call: call.near(0).clipped(0, call.number("maximum")).monotone(np.rint), parameters={"maximum": 4.0}
    ),
    "square_wave": Judged(_square_wave, parameters={"period": 2.0}),
    "staircase": Judged(_staircase(0, lambda call: call.number("levels") - 1), parameters={"levels": None}),
    "tanh": Judged(lambda call: _known(call, np.tanh(call.z), 4), lambda call, y: 1 - y.square()),
    "ternary": Judged(
        _exact(lambda call: np.where(call.z < -call.edge("threshold"), -1.0, (call.z > call.edge("threshold")) * 1.0)),
        parameters={"threshold": 0.5},
    ),
    "ternary_weight": Judged(_ternary_weight, parameters={"factor": 0.7}),
}
