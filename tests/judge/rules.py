"""Every rule, by its docstring: the gradient that it sends for a range of feedback."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.judge import levels
from tests.judge.forwards import FORWARDS, Call, channel_mean, sigma
from tests.judge.numbers import Array, Format, Near, uniform

__all__ = ["RULES", "Judged", "Sending"]


@dataclass(frozen=True)
class Sending(Call):
    """One rule of one call: ``parameters`` are the rule's.

    Args:
        stream: Index of the rule in its chain.
        forward: Name and parameters of the forward.
        y: Output of the forward.
    """

    stream: int = 0
    forward: tuple[str, dict] = ("linear", {})
    y: Near | None = None

    def uniform(self, draw: int = 0) -> Array:
        return uniform(self.z.shape, self.key, self.stream, draw)


@dataclass(frozen=True)
class Judged:
    """Rule by its formula.

    Args:
        send: Function for the gradient that is sent on, before it is rounded to the dtype of ``z``.
        parameters: Names and defaults; None has none.
        draws: True if it draws random numbers.
        flat: True if it goes with forwards that are flat almost everywhere.
        of: Forward whose derivative it follows, the only one it goes with; none if empty.
    """

    send: Callable[[Sending, Near], Near]
    parameters: dict[str, float | str | None] = field(default_factory=dict)
    draws: bool = False
    flat: bool = True
    of: str = ""


def _scaled(call: Sending, z: Near | None = None) -> Near:
    """``z / width``, which is a product with the inverse: two roundings."""
    return ((call.near() if z is None else z).loose(2) / call.number("width")).loose()


def _slope(formula: Callable[[Sending, Near, float, float], Near], **more: float | str | None) -> Judged:
    """Slope of ``t = z / width`` and ``height``, operation by operation."""

    def send(call: Sending, g: Near) -> Near:
        t = _scaled(call)
        return g.exact() * formula(call, t, call.number("height"))

    return Judged(send, {"width": 1.0, "height": 1.0} | more)


def _two(inside: Callable[[Sending], Array], high: Callable[[Sending], float], low: Callable[[Sending], float]):
    """Slope of two values; one that is 0 sends exactly 0."""

    def send(call: Sending, g: Near) -> Near:
        def part(value: float) -> Near:
            return g.exact() * value if value else call.constant(0)

        return part(high(call)).where(inside(call), part(low(call)))

    return send


def _number(name: str) -> Callable[[Sending], float]:
    return lambda call: call.number(name)


def _value(value: float) -> Callable[[Sending], float]:
    return lambda call: value


def _within(call: Sending) -> Array:
    return (call.edge("low") <= call.z) & (call.z <= call.edge("high"))


def _codes(call: Sending, steps: levels.Steps, format_: Format) -> Array:
    """Number of boundaries, rounded to a format, that each element passes."""
    compared = np.abs(call.z) if steps.even else call.z
    return sum((compared > format_.nearest(edge) for edge in steps.boundaries), np.zeros(call.z.shape, int))


def _levels(steps_of: Callable[[Sending], levels.Steps]) -> Callable[[Sending, Near], Near]:
    def send(call: Sending, g: Near) -> Near:
        steps = steps_of(call)
        values = call.arithmetic.nearest(np.array(steps.values))[_codes(call, steps, call.arithmetic)]
        sent = g.exact() * Near(values, None, call.arithmetic, 0)
        return sent.where(values != 0, 0.0)

    return send


# Where smooth forwards have their minimum.
_MINIMA = {"gelu": -0.7517915246935645, "silu": -1.2784645427610738}


def _sign_of_derivative(call: Sending) -> Array:
    name, parameters = call.forward
    if name in _MINIMA:
        return np.where(call.z >= call.format.nearest(np.float64(_MINIMA[name])), 1.0, -1.0)
    if name in {"elu", "logistic", "softplus", "tanh"}:
        return np.ones(call.z.shape)
    slope = FORWARDS[name].slope
    assert slope is not None
    return np.sign(slope(Call(call.z, call.dtype, call.key, parameters), call.y.loose()).low)


def _gated(call: Sending, g: Near) -> Near:
    if call.parameters["where"] == "nonzero":
        values = _sign_of_derivative(call)
        return (g * Near(values, None, call.arithmetic, 0)).where(values != 0, 0.0)
    steps = levels.gate(*call.forward)
    values = np.array(steps.values)[_codes(call, steps, call.format)]
    if steps.boundaries:
        values = np.where(np.isnan(call.z) & (0 in steps.values), 0.0, values)
    return (g * Near(values, None, call.arithmetic, 0)).where(values != 0, 0.0)


def _slopes(call: Sending, low: float, high: float) -> Near:
    """Uniform numbers on [low, high): a product and a sum in the arithmetic's format, kept below ``high``."""
    format_ = call.arithmetic
    low, span, high = (float(format_.nearest(np.float64(x))) for x in (low, high - low, high))
    drawn = format_.nearest(format_.nearest(call.uniform() * span) + low)
    below = high - float(format_.unit(np.float64(high)))
    power = math.frexp(abs(high))[0] == 0.5 and high > 0  # just below a power of two numbers are twice as near
    below = high - float(format_.unit(np.float64(high))) / 2 if power else below
    return Near(np.minimum(drawn, max(low, float(format_.nearest(np.float64(below))))), None, format_, 0)


def _jam(passes: Callable[[Sending, Near], tuple[Array, Array]]) -> Callable[[Sending, Near], Near]:
    def send(call: Sending, g: Near) -> Near:
        u = _slopes(call, call.parameters["minimum"], call.parameters["maximum"])
        kept = {"slope": g, "magnitude": g.sign(), "feedback": call.constant(1)}[call.parameters["replace"]]
        return (kept.exact() * u).either(*passes(call, g), 0.0)

    return send


def _everywhere(call: Sending, g: Near) -> tuple[Array, Array]:
    return (np.ones(call.z.shape, bool),) * 2


def _gate_of(low: Callable[[Sending, Format], float], high: Callable[[Sending, Format], float]):
    def passes(call: Sending, g: Near) -> tuple[Array, Array]:
        ends = low(call, call.format), high(call, call.format)
        of = g if call.parameters["gate"] == "feedback" else call.near()
        # NaN, of which nothing is known, may pass.
        return (ends[0] <= of.low) & (of.high <= ends[1]), ~((of.high < ends[0]) | (ends[1] < of.low))

    return passes


def _stochastic_spike(call: Sending, g: Near) -> Near:
    mean, variance = call.parameters["mean"], call.parameters["variance"]
    u = _slopes(call, (mean - 0.5) * variance, (mean + 0.5) * variance)
    return g.exact().where(call.z > 0, g.exact() * u)


def _samples(g: Near) -> tuple[int, ...]:
    """Dimensions of one sample."""
    return tuple(range(1, g.low.ndim)) or tuple(range(g.low.ndim))


def _dims(g: Near, per: str) -> tuple[int, ...]:
    return _samples(g) if per == "sample" else tuple(range(g.low.ndim))


def _norm(g: Near, dims: tuple[int, ...]) -> Near:
    """Euclidean norm, of numbers that are scaled so that no square overflows or vanishes."""
    size = np.maximum(np.abs(g.low), np.abs(g.high)).max(dims, keepdims=True, initial=0)
    scale = np.ldexp(1.0, np.where(np.isfinite(size), np.frexp(size)[1], 0))
    exact = Near(g.low / scale, g.high / scale, g.format, g.units)
    norm = exact.loose().square().total(dims).monotone(np.sqrt, 1)
    return Near(norm.low * scale, norm.high * scale, g.format, g.units)


def _count(g: Near, dims: tuple[int, ...]) -> int:
    return max(math.prod(g.low.shape[dim] for dim in dims), 1)


def _rms(g: Near, dims: tuple[int, ...]) -> Near:
    return _norm(g, dims) / math.sqrt(_count(g, dims))


def _normalize(call: Sending, g: Near) -> Near:
    rms = _rms(g, _dims(g, call.parameters["per"])).loose()
    return (g.loose() / rms).where(~(rms.high == 0), 0.0)


def _sign(call: Sending, g: Near) -> Near:
    signs = g.sign()
    if call.parameters["norm"] == "none":
        return signs
    dims = _dims(g, call.parameters["norm"])
    counted = Near(np.abs(signs.low), np.abs(signs.high), g.format)
    has = counted.where(signs.low == signs.high, Near(np.zeros(g.low.shape), np.ones(g.low.shape), g.format))
    size = _norm(g, dims).loose() / has.total(dims).monotone(np.sqrt, 1)
    nothing = (has.high.max(dims, keepdims=True, initial=0) == 0) | (signs.abs().high == 0)
    return (signs.loose() * size).where(~nothing | np.isnan(size.low), 0.0)


def _clip_norm(call: Sending, g: Near) -> Near:
    norm = _norm(g, tuple(range(g.low.ndim))).loose()
    limit = call.number("max_norm")
    factor = (limit / norm).clipped(-math.inf, 1.0)
    clipped = g.loose() * factor
    # What is 1e-38 of the largest element may lose its last digits.
    lost = limit * g.format.unit(np.zeros(()))
    # Below the limit nothing is multiplied: the factor is 1.
    return Near(clipped.low - lost, clipped.high + lost, g.format).where(~(norm.high < limit * 0.999), g)


def _centralize(call: Sending, g: Near) -> Near:
    if not g.low.ndim:
        return Near(g.low * 0, g.high * 0, g.format)
    dim = int(call.parameters["dim"])
    if not -g.low.ndim <= dim < g.low.ndim:
        raise IndexError(dim)
    dims = (dim % g.low.ndim,)
    return g.loose() - g.loose().total(dims) / _count(g, dims)


def _quantize(call: Sending, g: Near) -> Near:
    if not g.low.size:
        return g
    peak = g.abs()
    step = Near(peak.low.max(), peak.high.max(), g.format) / (2 ** (call.parameters["bits"] - 1) - 1)
    return (g.loose() / step).monotone(np.rint, 0).loose() * step if step.high != 0 else g


def _drop(call: Sending, g: Near) -> Near:
    p = call.parameters["p"]
    return (g / (1 - p)).where(call.uniform() >= call.number("p"), 0.0)


def _flip(call: Sending, g: Near) -> Near:
    return (-g).where(call.uniform() < call.number("p"), g)


def _normal(call: Sending) -> Near:
    """Normal numbers by Box and Muller, of draws 0 and 1."""
    first = Near(call.uniform(0), None, call.arithmetic)
    radius = ((-first).monotone(np.log1p) * -2.0).monotone(np.sqrt, 1)
    return radius * (Near(call.uniform(1), None, call.arithmetic) * (2 * math.pi)).cos()


def _noise(call: Sending, g: Near) -> Near:
    return g.loose() + call.number("sigma") * _normal(call)


def _rotate(call: Sending, g: Near) -> Near:
    if not g.low.size:
        return g
    dims = _samples(g)
    count = _count(g, dims)
    if count == 1:
        raise ValueError("one element has no other direction")
    rms = _rms(g, dims).loose()
    unit = (g.loose() / rms).where(~(rms.high == 0), 0.0)
    aside = _normal(call)
    aside = aside - unit * ((aside * unit).total(dims) / count)
    aside = aside / _rms(aside, dims).loose()
    angle = math.radians(call.parameters["degrees"])
    return g.loose() * math.cos(angle) + (rms * aside * math.sin(angle)).where(~(rms.high == 0), 0.0)


def _tied(call: Sending, g: Near) -> Near:
    name, parameters = call.forward
    slope = FORWARDS[name].slope
    assert slope is not None
    of_forward = Call(call.z, call.dtype, call.key, parameters)
    factor = slope(of_forward, call.y.loose())
    sent = g.exact() * factor
    if name == "logistic" and call.dtype == "float16":
        # PyTorch rounds each of two products to float16.
        sent = sent.to(call.format).widened(call.format.nearest(sent.low), call.format.nearest(sent.high), 2)
    if name == "silu":
        # PyTorch multiplies the feedback with sigma(z) first, and a subnormal product has lost digits.
        lost = sent.format.unit(np.zeros(())) * (1 + np.abs(call.z))
        sent = Near(sent.low - lost, sent.high + lost, sent.format, sent.units)
    # A slope that is exactly 0 blocks.
    return sent.where((factor.low != 0) | (factor.high != 0), 0.0) if name != "linear" else sent


def _magnitude_aware(call: Sending, g: Near) -> Near:
    mean = channel_mean(call, call.parameters["dim"])
    return g.loose() * mean * Near((np.abs(call.z) <= call.number("clip")) * 1.0, None, call.arithmetic)


def _s2nn(call: Sending, g: Near) -> Near:
    z = call.near()
    s = _scaled(call).monotone(sigma)
    left = s * (1 - s) * 4.0 * call.number("left")
    right = call.number("height") / (1 + z.clipped(0, math.inf))
    return g.exact() * left.where(call.z < 0, right)


def _swish(call: Sending, t: Near, height: float) -> Near:
    half = (t * 0.5).monotone(np.tanh)
    # 1 + cosh t, without what overflows.
    fallen = (-t.abs()).monotone(np.exp)
    return height * (2 - t * half) * (2 * fallen / (1 + fallen).square())


def _square_wave_series(call: Sending, g: Near) -> Near:
    width, height, terms = call.number("width"), call.number("height"), int(call.parameters["terms"])
    z = call.near()
    total = call.constant(0).loose()
    for i in range(1, terms + 1):
        total = total + (z * ((2 * i - 1) * math.pi) / (2 * width)).cos()
    far = 4 * width <= 2 * call.arithmetic.unit(call.z)
    return g.exact() * (total * height / terms).joined(0.0).where(far, total * height / terms)


def _q_pseudo_spike(call: Sending) -> Near:
    power = call.number("power")
    base = 1 + _scaled(call).abs().clipped(0, call.arithmetic.largest)
    # By way of a logarithm, an error of which is one of the exponent.
    return call.number("height") * base.monotone(lambda x: x**-power, 16 + 4 * power * np.log(base.high))


def _sparse(call: Sending, t: Near, height: float) -> Near:
    slope = height / (1 + t.abs()).square()
    bound = call.number("bound")
    inside = np.abs(call.z) < bound if call.parameters["part"] == "within" else call.z > bound
    return slope.where(inside, 0.0)


_GATE = {"gate": "preactivation", "minimum": 0.0, "maximum": 1.0, "replace": "slope"}

RULES: dict[str, Judged] = {
    "atan": _slope(lambda call, t, height: height / (1 + t.square())),
    "centralize": Judged(_centralize, {"dim": -1.0}),
    "circ": _slope(lambda call, t, height: height / (1 + t.square()).monotone(lambda x: x**1.5)),
    "clip": Judged(lambda call, g: g.clipped(-call.number("value"), call.number("value")), {"value": None}),
    "clip_norm": Judged(_clip_norm, {"max_norm": None}),
    "constant": Judged(_two(lambda call: np.ones(call.z.shape, bool), _number("value"), _value(0)), {"value": 1.0}),
    "drop": Judged(_drop, {"p": None}, draws=True),
    "erf": _slope(lambda call, t, height: height * (-t.square()).monotone(np.exp)),
    "fake_numerical_gradient": _slope(lambda call, t, height: height * (1 / t.abs()).clipped(0, 1)),
    "fast_sigmoid": _slope(lambda call, t, height: height / (1 + t.abs()).square()),
    "few_bit": Judged(
        _levels(lambda call: levels.nearest(*call.forward, int(call.parameters["bits"]))), {"bits": None}, flat=False
    ),
    "flip": Judged(_flip, {"p": None}, draws=True),
    "frozen": Judged(lambda call, g: call.constant(0)),
    "full_jam": Judged(_jam(_everywhere), {"minimum": 0.0, "maximum": 1.0, "replace": "slope"}, draws=True),
    "gated": Judged(_gated, {"where": "large"}, flat=False),
    "leaky_relu": Judged(
        _two(lambda call: call.z > 0, _number("height"), _number("leak")), {"leak": 0.0, "height": 1.0}
    ),
    "log_tailed_relu": _slope(
        lambda call, t, height: (height * (1 / t.clipped(0, math.inf)).clipped(0, 1)).where(
            ~(call.z <= 0), call.number("leak")
        ),
        leak=0.0,
    ),
    "magnitude_aware": Judged(_magnitude_aware, {"clip": 1.0, "dim": 0.0}),
    "noise": Judged(_noise, {"sigma": None}, draws=True),
    "normalize": Judged(_normalize, {"per": "sample"}),
    "piecewise_exp": Judged(
        lambda call, g: (
            g.exact()
            * (call.number("height") * (-_scaled(call, (call.near() - call.number("center")).abs())).monotone(np.exp))
        ),
        {"width": 1.0, "height": 1.0, "center": 0.0},
    ),
    "piecewise_leaky_relu": Judged(
        _two(lambda call: np.abs(call.z) <= call.edge("width"), _number("height"), _number("leak")),
        {"width": 1.0, "height": 0.5, "leak": 0.01},
    ),
    "positive_jam": Judged(
        _jam(_gate_of(lambda call, format_: 0.0, lambda call, format_: math.inf)), _GATE, draws=True
    ),
    "q_pseudo_spike": Judged(
        lambda call, g: g.exact() * _q_pseudo_spike(call), {"width": 0.5, "height": 1.0, "power": 2.0}
    ),
    "quantize": Judged(_quantize, {"bits": None}),
    "rectangular": Judged(_two(_within, _number("height"), _value(0)), {"low": -0.5, "high": 0.5, "height": 1.0}),
    "rectangular_jam": Judged(
        _jam(_gate_of(lambda call, format_: call.edge("low"), lambda call, format_: call.edge("high"))),
        {"low": -5.0, "high": 5.0} | _GATE,
        draws=True,
    ),
    "regelu2": Judged(
        _levels(
            lambda call: levels.Steps(
                (-3.1858810036855245, -0.001178821281161997, 3.190832613414926),
                (0.0, -0.04922261145617846, 1.0487405950855513, 1.0),
            )
        ),
        of="gelu",
    ),
    "resilu2": Judged(
        _levels(
            lambda call: levels.Steps(
                (-6.3050461001646445, -0.0008684942046214787, 6.325815242089708),
                (0.0, -0.04060357190528599, 1.0403218566243822, 1.0),
            )
        ),
        of="silu",
    ),
    "rotate": Judged(_rotate, {"degrees": None}, draws=True),
    "s2nn": Judged(_s2nn, {"width": 0.25, "height": 1.0, "left": 1.0}),
    "scale": Judged(lambda call, g: g.exact() * call.number("factor"), {"factor": None}),
    "sigmoid": _slope(lambda call, t, height: 4 * height * (t.abs().monotone(sigma) * (-t.abs()).monotone(sigma))),
    "sign": Judged(_sign, {"norm": "none"}),
    "sign_log_abs": _slope(lambda call, t, height: height / (1 + t.abs())),
    "sparse_fast_sigmoid": _slope(_sparse, bound=1.0, part="within"),
    "square_wave_series": Judged(_square_wave_series, {"width": 2.0, "height": 0.5, "terms": 1.0}),
    "stochastic_spike": Judged(_stochastic_spike, {"mean": 0.0, "variance": 0.2}, draws=True),
    "swish_sign": Judged(
        lambda call, g: g.exact() * _swish(call, _scaled(call), call.number("height")),
        {"width": 0.2, "height": 5.0},
    ),
    "tied": Judged(_tied, flat=False),
    "triangular": _slope(lambda call, t, height: (1 - t.abs()).clipped(0, math.inf) * height),
}
