"""Every rule of the peers beside ours: how each is made from random parameters, and where they are compared.

A peer that cannot be had is re-derived: Larq needs TensorFlow, so its slopes are derivatives, which PyTorch takes, of the
functions that its papers name; LowMemoryBP needs CUDA, so its published numbers stand here.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import tieless as tl
from tests.conformance.loading import load
from tieless.forwards import Quantize

Function = Callable[[Tensor], Tensor]
Range = tuple[float, float]
A = (0.2, 8.0)


@dataclass(frozen=True)
class Case:
    """One rule.

    Args:
        peer, name: Name of the peer, and that of its rule.
        theirs: Function that makes the peer's function of its modules and the parameters.
        ours: Function that makes our forward and rule of the parameters.
        spec: Spec of our rule, for the table.
        ranges: Ranges of the parameters, which are whole numbers where both ends are.
        reach: Largest ``|z|``. A function of the parameters where the peer's own rounding sets it.
        forward: True if the values are compared too.
        draws: Function of torch by which the peer draws random numbers in its backward pass.
        note: Remark for the table.
    """

    peer: str
    name: str
    theirs: Callable[..., Function]
    ours: Callable[..., tuple[Any, Any]]
    spec: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    reach: Callable[..., float] = lambda **_: 20.0
    forward: bool = True
    draws: str | None = None
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.peer} {self.name}"


# freegrad: a forward, and a rule that is chosen by a context.


def _freegrad(rule: str, forward: str = "ReLU") -> Callable[..., Function]:
    def make(modules: Any, **parameters: float) -> Function:
        activation = modules[0].Activation(forward)
        context = contextvars.copy_context()
        context.run(modules[0].use(rule=rule, params=parameters).__enter__)
        return lambda z: context.run(activation, z)

    return make


def _freegrad_case(name: str, ours: Callable[..., Any], spec: str, **more: Any) -> Case:
    return Case("freegrad", name, _freegrad(name), lambda **p: ("relu", ours(**p)), spec, **more)


FREEGRAD = [
    Case("freegrad", "d(ReLU)", _freegrad("d(ReLU)", "Heaviside"), lambda: ("heaviside", "leaky_relu"), "leaky_relu"),
    _freegrad_case("d(Linear)", tl.Constant, "constant"),
    _freegrad_case(
        "rectangular", lambda a, b: tl.Rectangular(a, b), "rectangular(a, b)", ranges={"a": (-9, -0.1), "b": (0.1, 9)}
    ),
    _freegrad_case("triangular", tl.Triangular, "triangular(width)", ranges={"width": (0.1, 9)}),
    _freegrad_case("full_jam", tl.FullJam, "full_jam", draws="rand_like", note="same numbers given"),
    _freegrad_case("positive_jam", tl.PositiveJam, "positive_jam", draws="rand_like", note="same numbers given"),
    _freegrad_case(
        "rectangular_jam",
        lambda a, b: tl.RectangularJam(a, b),
        "rectangular_jam(a, b)",
        ranges={"a": (-9, -0.1), "b": (0.1, 9)},
        draws="rand_like",
        note="same numbers given",
    ),
    _freegrad_case("scale", lambda s: tl.Scale(s), "scale(s)", ranges={"s": (-3, 3)}),
    _freegrad_case("clip_norm", tl.ClipNorm, "clip_norm(max_norm)", ranges={"max_norm": (0.1, 30)}),
    _freegrad_case(
        "noise", tl.Noise, "noise(sigma)", ranges={"sigma": (0.01, 2)}, draws="randn_like", note="same numbers given"
    ),
    _freegrad_case("centralize", tl.Centralize, "centralize"),
]


# snnTorch: a function that makes a function; z > 0.


def _snntorch(name: str, ours: Callable[..., Any], spec: str, **more: Any) -> Case:
    def theirs(modules: Any, **parameters: float) -> Function:
        return getattr(modules[0], name)(**parameters)

    return Case("snntorch", name, theirs, lambda **p: ("heaviside", ours(**p)), spec, **more)


SNNTORCH = [
    _snntorch("straight_through_estimator", tl.Constant, "constant"),
    _snntorch("fast_sigmoid", tl.FastSigmoid.from_slope, "FastSigmoid.from_slope(slope)", ranges={"slope": (1, 50.5)}),
    _snntorch("atan", tl.ATan.from_alpha, "ATan.from_alpha(alpha)", ranges={"alpha": A}),
    _snntorch("heaviside", tl.LeakyReLU, "leaky_relu"),
    _snntorch(
        "sigmoid",
        lambda slope: tl.Sigmoid.from_alpha(slope),
        "Sigmoid.from_alpha(slope)",
        ranges={"slope": (1, 50.5)},
        reach=lambda slope: 300 / slope,
        note="|z| up to 300 / slope",
    ),
    _snntorch(
        "spike_rate_escape",
        tl.PiecewiseExp.from_escape_rate,
        "PiecewiseExp.from_escape_rate(beta, slope)",
        ranges={"beta": A, "slope": (1, 50.5)},
    ),
    _snntorch(
        "SSO",
        tl.StochasticSpike,
        "stochastic_spike(mean, variance)",
        ranges={"mean": (-2, 2), "variance": (0.05, 2)},
        draws="rand_like",
        note="same numbers given",
    ),
    _snntorch(
        "SFS",
        lambda slope, B: tl.SparseFastSigmoid.from_slope(slope, B),
        "SparseFastSigmoid.from_slope(slope, B)",
        ranges={"slope": (1, 50.5), "B": (-1, 3)},
    ),
]


# SpikingJelly: modules; z >= 0.


def _spikingjelly(name: str, ours: Callable[..., Any], spec: str, **more: Any) -> Case:
    def theirs(modules: Any, **parameters: float) -> Function:
        return getattr(modules[0], name)(**parameters)

    return Case("spikingjelly", name, theirs, lambda **p: ("heaviside", ours(**p)), spec, **more)


def _quantise(name: str, ours: Callable[..., tuple[Any, Any]], spec: str, **more: Any) -> Case:
    def theirs(modules: Any, **parameters: float) -> Function:
        return lambda z: getattr(modules[1], name)(z, **parameters)

    return Case("spikingjelly", f"quantize.{name}", theirs, ours, spec, **more)


SPIKINGJELLY = [
    _spikingjelly("PiecewiseQuadratic", tl.Triangular.from_alpha, "Triangular.from_alpha(alpha)", ranges={"alpha": A}),
    _spikingjelly("PiecewiseExp", tl.PiecewiseExp.from_alpha, "PiecewiseExp.from_alpha(alpha)", ranges={"alpha": A}),
    _spikingjelly(
        "Sigmoid",
        tl.Sigmoid.from_alpha,
        "Sigmoid.from_alpha(alpha)",
        ranges={"alpha": A},
        reach=lambda alpha: 15 / alpha,
        note="|z| up to 15 / alpha",
    ),
    _spikingjelly("SoftSign", tl.FastSigmoid.from_soft_sign, "FastSigmoid.from_soft_sign(alpha)", ranges={"alpha": A}),
    _spikingjelly(
        "SuperSpike", tl.FastSigmoid.from_super_spike, "FastSigmoid.from_super_spike(alpha)", ranges={"alpha": A}
    ),
    _spikingjelly("ATan", tl.ATan.from_alpha, "ATan.from_alpha(alpha)", ranges={"alpha": A}),
    _spikingjelly("NonzeroSignLogAbs", tl.SignLogAbs.from_alpha, "SignLogAbs.from_alpha(alpha)", ranges={"alpha": A}),
    _spikingjelly(
        "Erf",
        tl.Erf.from_alpha,
        "Erf.from_alpha(alpha)",
        ranges={"alpha": A},
        reach=lambda alpha: 26 / alpha,
        note="|z| up to 26 / alpha",
    ),
    _spikingjelly(
        "PiecewiseLeakyReLU",
        tl.PiecewiseLeakyReLU.from_w,
        "PiecewiseLeakyReLU.from_w(w, c)",
        ranges={"w": (0.1, 9), "c": (0, 0.5)},
    ),
    _spikingjelly(
        "SquarewaveFourierSeries",
        lambda n, T_period: tl.SquareWaveSeries.from_period(n, T_period),
        "SquareWaveSeries.from_period(n, T)",
        ranges={"n": (2, 6), "T_period": (1.5, 20)},
        note="relative to the height, for it crosses 0",
    ),
    _spikingjelly(
        "S2NN",
        tl.S2NN.from_alpha,
        "S2NN.from_alpha(alpha, beta)",
        ranges={"alpha": A, "beta": A},
    ),
    _spikingjelly(
        "QPseudoSpike", tl.QPseudoSpike.from_alpha, "QPseudoSpike.from_alpha(alpha)", ranges={"alpha": (1.1, 8)}
    ),
    _spikingjelly(
        "LeakyKReLU",
        lambda leak, k: tl.LeakyReLU(leak, k),
        "leaky_relu(leak, k)",
        ranges={"leak": (-1, 1), "k": (-2, 2)},
    ),
    _spikingjelly(
        "FakeNumericalGradient",
        tl.FakeNumericalGradient.from_alpha,
        "FakeNumericalGradient.from_alpha(alpha)",
        ranges={"alpha": A},
    ),
    _spikingjelly(
        "LogTailedReLU",
        lambda alpha: tl.LogTailedReLU(leak=alpha),
        "log_tailed_relu(leak=alpha)",
        ranges={"alpha": (0, 1)},
    ),
    _spikingjelly("Rect", tl.Rectangular.from_alpha, "Rectangular.from_alpha(alpha)", ranges={"alpha": A}),
    _spikingjelly("DeterministicPass", tl.Constant, "constant"),
    Case(
        "spikingjelly",
        "PoissonPass",
        lambda modules: lambda z: modules[0].PoissonPass()(z + (z.sigmoid() - z).detach()),
        lambda: ("heaviside", "constant"),
        "constant",
        forward=False,
        note="gradient alone; the forward draws",
    ),
    Case(
        "spikingjelly",
        "MultiLevelSpikeCount",
        lambda modules, maximum: modules[0].MultiLevelSpikeCount(int(maximum)),
        lambda maximum: (f"spike_count({maximum})", tl.Rectangular(0, maximum)),
        "spike_count(M), rectangular(0, M)",
        ranges={"maximum": (1, 9)},
    ),
    _quantise("round", lambda: ("round", "constant"), "round, constant"),
    _quantise("ceil", lambda: ("ceil", "constant"), "ceil, constant"),
    _quantise("floor", lambda: ("floor", "constant"), "floor, constant"),
    _quantise(
        "clamp",
        lambda min_value, max_value: (f"clamp({min_value}, {max_value})", "tied"),
        "clamp(min, max), tied",
        ranges={"min_value": (-9, -0.1), "max_value": (0.1, 9)},
    ),
    _quantise(
        "step_quantize",
        lambda step: (f"quantize({step})", "constant"),
        "quantize(step), constant",
        ranges={"step": (0.1, 3)},
    ),
    _quantise(
        "k_bit_quantize",
        lambda k: (Quantize.from_bits(k), "constant"),
        "Quantize.from_bits(k), constant",
        ranges={"k": (1, 8)},
    ),
]


# Norse: functions with the parameter after z; z > 0.


def _norse(name: str, ours: Callable[..., Any], spec: str, parameter: str = "k", **more: Any) -> Case:
    def theirs(modules: Any, **parameters: float) -> Function:
        values = [torch.as_tensor(value) if name == "superspike_fn" else value for value in parameters.values()]
        return lambda z: getattr(modules[0], name)(z, *values)

    return Case("norse", name, theirs, lambda **p: ("heaviside", ours(**p)), spec, ranges={parameter: A}, **more)


NORSE = [
    _norse("superspike_fn", lambda alpha: tl.FastSigmoid(), "fast_sigmoid", "alpha", note="its alpha does nothing"),
    _norse("heavi_erfc_fn", tl.Erf.from_erfc, "Erf.from_erfc(k)", reach=lambda k: 26 / k, note="|z| up to 26 / k"),
    _norse(
        "heavi_tanh_fn", tl.Sigmoid.from_tanh, "Sigmoid.from_tanh(k)", reach=lambda k: 7 / k, note="|z| up to 7 / k"
    ),
    _norse(
        "logistic_fn",
        tl.Sigmoid.from_tanh,
        "Sigmoid.from_tanh(k)",
        reach=lambda k: 7 / k,
        forward=False,
        note="gradient alone, |z| up to 7 / k",
    ),
    _norse("heavi_circ_fn", lambda k: tl.Circ.from_alpha(k), "Circ.from_alpha(k)"),
    _norse("circ_dist_fn", lambda k: tl.Circ.from_alpha(k), "Circ.from_alpha(k)", forward=False, note="gradient alone"),
    _norse("triangle_fn", tl.Triangular.from_norse, "Triangular.from_norse(alpha)", "alpha"),
]


# Brevitas: straight through.


def _brevitas(name: str, ours: Callable[..., tuple[Any, Any]], spec: str, *parameters: float) -> Case:
    def theirs(modules: Any) -> Function:
        values = [torch.tensor(value) for value in parameters] if name.startswith("tensor") else parameters
        return lambda z: getattr(modules[0], name)(z, *values)

    return Case("brevitas", name.removesuffix("_impl"), theirs, ours, spec)


BREVITAS = [
    _brevitas("round_ste_impl", lambda: ("round", "constant"), "round, constant"),
    _brevitas("ceil_ste_impl", lambda: ("ceil", "constant"), "ceil, constant"),
    _brevitas("floor_ste_impl", lambda: ("floor", "constant"), "floor, constant"),
    _brevitas("round_to_zero_ste_impl", lambda: ("round_to_zero", "constant"), "round_to_zero, constant"),
    _brevitas("binary_sign_ste_impl", lambda: ("sign", "constant"), "sign, constant"),
    _brevitas("ternary_sign_ste_impl", lambda: ("ternary(0)", "constant"), "ternary(0), constant"),
    _brevitas("scalar_clamp_ste_impl", lambda: ("clamp(-0.5, 2)", "constant"), "clamp(low, high), constant", -0.5, 2.0),
    _brevitas("tensor_clamp_ste_impl", lambda: ("clamp(-0.5, 2)", "constant"), "clamp(low, high), constant", -0.5, 2.0),
    _brevitas("scalar_clamp_min_ste_impl", lambda: (_at_least_half, "constant"), "any callable, constant", -0.5),
    _brevitas("abs_binary_sign_grad_impl", lambda: ("abs", "tied"), "abs, tied"),
]


def _at_least_half(z: Tensor) -> Tensor:
    return z.clamp(min=-0.5)


# Re-derived.


def _beside(value: Function, primitive: Function) -> Function:
    """A value, with the derivative of another function."""
    return lambda z: primitive(z) + (value(z) - primitive(z)).detach()


def _sign(z: Tensor) -> Tensor:
    return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)


def _larq(
    name: str, theirs: Callable[..., Function], ours: Callable[..., tuple[Any, Any]], spec: str, **more: Any
) -> Case:
    return Case("larq", name, lambda modules, **p: theirs(**p), ours, spec, **more)


def _signed_swish(beta: float) -> Function:
    return lambda z: 2 * (z * beta).sigmoid() * (1 + beta * z * (1 - (beta * z).sigmoid())) - 1


def _by_channels(clip: float) -> Function:
    def scaled(z: Tensor) -> Tensor:
        scale = z.detach().abs().mean(0)  # all axes but the last
        return scale * _beside(_sign, lambda x: x.clamp(-clip, clip))(z)

    return scaled


CLIP = {"clip": (0.2, 9)}
LARQ = [
    _larq(
        "SteSign",
        lambda clip: _beside(_sign, lambda z: z.clamp(-clip, clip)),
        lambda clip: ("sign", tl.Rectangular.from_clip(clip)),
        "sign, Rectangular.from_clip(clip)",
        ranges=CLIP,
    ),
    _larq(
        "SteHeaviside",
        lambda clip: _beside(lambda z: (z > 0).to(z.dtype), lambda z: z.clamp(-clip, clip)),
        lambda clip: ("heaviside", tl.Rectangular.from_clip(clip)),
        "heaviside, Rectangular.from_clip(clip)",
        ranges=CLIP,
    ),
    _larq(
        "SteTern",
        lambda threshold, clip: _beside(
            lambda z: torch.sign(torch.sign(z + threshold) + torch.sign(z - threshold)), lambda z: z.clamp(-clip, clip)
        ),
        lambda threshold, clip: (f"ternary({threshold})", tl.Rectangular.from_clip(clip)),
        "ternary(threshold), Rectangular.from_clip(clip)",
        ranges={"threshold": (0.01, 1), **CLIP},
    ),
    _larq(
        "SteTern, ternary_weight_networks",
        lambda clip: _beside(
            lambda z: torch.sign(z) * (z.abs() > 0.7 * z.abs().mean()).to(z.dtype), lambda z: z.clamp(-clip, clip)
        ),
        lambda clip: ("ternary_weight(0.7)", tl.Rectangular.from_clip(clip)),
        "ternary_weight(0.7), Rectangular.from_clip(clip)",
        ranges=CLIP,
    ),
    _larq(
        "ApproxSign",
        lambda: _beside(_sign, lambda z: torch.where(z.abs() <= 1, 2 * z - z * z.abs(), z.sign())),
        lambda: ("sign", tl.Triangular(1, 2)),
        "sign, triangular(1, height=2)",
    ),
    _larq(
        "SwishSign",
        lambda beta: _beside(_sign, _signed_swish(beta)),
        lambda beta: ("sign", tl.SwishSign.from_beta(beta)),
        "sign, SwishSign.from_beta(beta)",
        ranges={"beta": A},
        reach=lambda beta: 8 / beta,
        note="relative to the height, for it crosses 0; |z| up to 8 / beta",
    ),
    _larq(
        "MagnitudeAwareSign",
        _by_channels,
        lambda clip: ("magnitude_aware_sign(-1)", tl.MagnitudeAware(clip, -1)),
        "magnitude_aware_sign(-1), magnitude_aware(clip, -1)",
        ranges=CLIP,
    ),
    _larq(
        "DoReFa",
        lambda k: _beside(lambda z: torch.round(z.clamp(0, 1) * (2**k - 1)) / (2**k - 1), lambda z: z.clamp(0, 1)),
        lambda k: (f"staircase({2**k})", tl.Rectangular(0, 1)),
        "staircase(2^k), rectangular(0, 1)",
        ranges={"k": (1, 8)},
        note="activations; its weights are scaled by a maximum",
    ),
]


def _steps(function: Function, heights: tuple[float, ...], places: tuple[float, ...]) -> Callable[..., Function]:
    def primitive(z: Tensor) -> Tensor:
        return sum(height * torch.relu(z - place) for height, place in zip(heights, places, strict=True))

    return lambda modules: _beside(function, primitive)


LOW_MEMORY = [
    Case(
        "LowMemoryBP",
        "ReGELU2",
        _steps(
            torch.nn.functional.gelu, (-0.04922261, 1.09796321, -0.04874060), (-3.18588100, -0.00117882, 3.19083261)
        ),
        lambda: ("gelu", "regelu2"),
        "gelu, regelu2",
        reach=lambda: 4.0,
        note="|z| up to 4",
    ),
    Case(
        "LowMemoryBP",
        "ReSiLU2",
        _steps(
            torch.nn.functional.silu, (-0.04060357, 1.08092543, -0.04032186), (-6.30504610, -0.00086849, 6.32581524)
        ),
        lambda: ("silu", "resilu2"),
        "silu, resilu2",
    ),
]

CASES = [*FREEGRAD, *SNNTORCH, *SPIKINGJELLY, *NORSE, *BREVITAS, *LARQ, *LOW_MEMORY]
REDERIVED = ("larq", "LowMemoryBP")


# The comparison.


@dataclass(frozen=True)
class Difference:
    """Distance of two gradients and of two values, relative to the larger of each pair."""

    gradient: float
    value: float


def available(peer: str) -> bool:
    """True if a peer is re-derived here or was fetched."""
    return peer in REDERIVED or load(peer) is not None


def difference(case: Case, parameters: Mapping[str, float], seed: int) -> Difference:
    """Both on the same random ``z`` with the same random feedback, in float64."""
    generator = torch.Generator().manual_seed(seed)
    reach = min(case.reach(**parameters), 20.0)
    # Half of them over the whole reach, half of them near 0.
    spread = torch.cat([torch.full((96,), reach), torch.full((96,), min(reach, 2.0))]).double().view(48, 4)
    z = (2 * torch.rand(48, 4, generator=generator, dtype=torch.float64) - 1) * spread
    # Numbers of float32, for snnTorch sends back no others.
    feedback = torch.randn(48, 4, generator=generator).double()
    modules = None if case.peer in REDERIVED else load(case.peer)
    forward, rule = case.ours(**parameters)
    torch.manual_seed(seed)
    own_value, own = _both(lambda x: tl.untie(x, forward, rule), z, feedback)
    with _numbers_of_ours(case, feedback, seed):
        value, other = _both(case.theirs(modules, **parameters), z, feedback)
    scale = None
    if "relative to the height" in case.note:
        scale = feedback.abs() * getattr(rule, "height", 1.0)
    return Difference(
        _relative(own, other.double(), scale), _relative(own_value, value.double()) if case.forward else 0.0
    )


def _both(function: Function, z: Tensor, feedback: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    y = function(leaf)
    y.backward(feedback.to(y.dtype))
    assert leaf.grad is not None
    return y.detach(), leaf.grad


def _relative(one: Tensor, other: Tensor, scale: Tensor | None = None) -> float:
    if not (one.isfinite().all() and other.isfinite().all()):
        return math.inf
    larger = torch.maximum(one.abs(), other.abs()) if scale is None else scale
    # Below the smallest normal number our kernels may send 0.
    apart = torch.where(larger > 1e-280, (one - other).abs() / larger, 0.0)
    return apart.max().item()


@contextlib.contextmanager
def _numbers_of_ours(case: Case, feedback: Tensor, seed: int) -> Iterator[None]:
    """Inside, the peer draws the numbers that our rule drew from the seed."""
    if case.draws is None:
        yield
        return
    torch.manual_seed(seed)
    ones = torch.ones_like(feedback)
    source = tl.FullJam() if case.draws == "rand_like" else tl.Noise(1)
    _, numbers = _both(lambda x: tl.untie(x, "linear", source), torch.zeros_like(ones), ones)
    numbers = numbers - 1 if case.draws == "randn_like" else numbers
    with mock.patch.object(torch, case.draws, lambda like: numbers.to(like.dtype)):
        yield
