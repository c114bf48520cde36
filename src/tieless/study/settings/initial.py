"""Initial weights that a trial can give a model: PyTorch's, normal or orthogonal ones with a gain for its activations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from tieless.errors import RuleValueError
from tieless.forwards import forward as forward_of
from tieless.functional import untie
from tieless.nn.select import linear_layers
from tieless.nn.weights import inputs_first_class
from tieless.registry import Named, Registry, hidden_at_default, remembered

Keeps = Literal["forward", "feedback"]
_GRID = 200_001
_END = 8.0


class Inputs(NamedTuple):
    """Mean and variance of the values that a layer reads."""

    mean: float
    variance: float


class Circumstances(NamedTuple):
    """Halves of the activations and training samples, on which initial weights may depend."""

    forward: str
    backward: str
    samples: Tensor


class Initial(Named):
    """Initial weights of the linear layers and convolutions of a model; other parameters stay as the model made them."""

    __slots__ = ()

    def apply(self, model: nn.Module, around: Circumstances) -> None:
        """Draw the weights by PyTorch's generator, in place."""
        raise NotImplementedError


INITIALS: Registry[Initial] = Registry("kind of initial weights")


@INITIALS.register
@dataclass(frozen=True, slots=True)
class _Default(Initial):
    """Weights as the model makes them, in most layers those of PyTorch: ``U(-1, 1) / sqrt(n)`` with ``n`` inputs."""

    name: ClassVar[str] = "default"

    def apply(self, model: nn.Module, around: Circumstances) -> None:
        pass


@INITIALS.register
@dataclass(frozen=True, slots=True)
class _Normal(Initial):
    """Weights ``N(0, gain^2 / n)`` with ``n`` inputs per unit, and biases ``-center`` times the sum of a unit's weights.

    For logistic units 4 is the inverse of the greatest slope and 1/2 the mean output.
    """

    name: ClassVar[str] = "normal"
    gain: float
    center: float = hidden_at_default(0.0)

    def check(self) -> None:
        self.require(self.gain > 0, "gain > 0")

    def apply(self, model: nn.Module, around: Circumstances) -> None:
        for weight, bias in _layers(model):
            nn.init.normal_(weight, std=self.gain / math.sqrt(weight[0].numel()))
            _centre(weight, bias, self.center)


class _Matched(Initial):
    """Weights with the gain at which a variance stays what it is from layer to layer, by the moments of ``z ~ N(0, 1)``.

    With ``keeps="forward"`` it is the variance of ``z``: ``gain^2 = 1 / Var[phi(z)]`` and ``n`` the inputs per unit.
    With ``keeps="feedback"`` it is that of the feedback: ``gain^2 = 1 / E[s(z)^2]`` with the slope ``s`` that the rule
    puts in the place of the derivative, and ``n`` the outputs per input. Biases are ``-E[phi(z)]`` times the sum of a
    unit's weights, so that ``z`` has no mean; a layer without bias has ``E[phi(z)^2]`` in the place of the variance. The
    first layer, which reads samples, has their mean and variance in the place of those of ``phi(z)``, either way. Pooling
    between layers is not counted.
    """

    __slots__ = ()
    keeps: Keeps

    def drawn(self, shape: torch.Size) -> Tensor:
        """Weights of mean 0 and, on average, a mean square of 1."""
        raise NotImplementedError

    @torch.no_grad()
    def apply(self, model: nn.Module, around: Circumstances) -> None:
        if not around.samples.is_floating_point():
            raise RuleValueError(f"{self} is for a first layer that reads numbers, and these samples are codes.")
        variance, mean = torch.var_mean(around.samples, correction=0)
        read = Inputs(float(mean), float(variance))
        for place, (weight, bias) in enumerate(_layers(model)):
            spread = read.variance + (read.mean**2 if bias is None else 0)
            fan = weight[0].numel()
            if self.keeps == "feedback" and place:
                spread, fan = mean_squared_slope(around.forward, around.backward), weight[:, 0].numel()
            if not 0 < spread < math.inf:
                raise RuleValueError(
                    f"{self} has no gain beside {around.forward} and {around.backward}: the "
                    f"{'mean squared slope' if self.keeps == 'feedback' else 'variance of what a layer reads'} is {spread:g}."
                )
            weight.copy_(self.drawn(weight.shape) / math.sqrt(spread * fan))
            _centre(weight, bias, read.mean)
            read = moments(around.forward)


@INITIALS.register
@dataclass(frozen=True, slots=True)
class _GainMatched(_Matched):
    """Normal weights ``N(0, gain^2 / n)`` of matched gain."""

    name: ClassVar[str] = "gain_matched"
    keeps: Keeps = hidden_at_default("forward")

    def drawn(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape)


@INITIALS.register
@dataclass(frozen=True, slots=True)
class _Orthogonal(_Matched):
    """Orthogonal rows or columns, of the mean square that ``gain_matched`` has."""

    name: ClassVar[str] = "orthogonal"
    keeps: Keeps = hidden_at_default("forward")

    def drawn(self, shape: torch.Size) -> Tensor:
        # Of the smaller number of rows or columns each has the norm 1.
        return nn.init.orthogonal_(torch.empty(shape)) * math.sqrt(max(shape[0], shape.numel() // shape[0]))


@remembered
def moments(forward: str) -> Inputs:
    """Mean and variance of a forward's output for ``z ~ N(0, 1)``."""
    z, share = _normal_grid()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y = forward_of(forward).value(z)
    mean = float((share * y).sum())
    return Inputs(mean, float((share * (y - mean) ** 2).sum()))


@remembered
def mean_squared_slope(forward: str, backward: str) -> float:
    """Mean square of the gradient that a rule passes down for an incoming one of 1 everywhere, for ``z ~ N(0, 1)``."""
    z, share = _normal_grid()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        z.requires_grad_()
        (slope,) = torch.autograd.grad(untie(z, forward, backward).sum(), z)
    return float((share * slope**2).sum())


def _normal_grid() -> tuple[Tensor, Tensor]:
    z = torch.linspace(-_END, _END, _GRID, dtype=torch.float64)
    density = torch.exp(-z * z / 2)
    return z, density / density.sum()


def _layers(model: nn.Module) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weights and biases of the linear layers and convolutions, in the model's order, one output a row."""
    for _, layer in linear_layers(model):
        weight = cast("Tensor", layer.weight).data
        bias = cast("nn.Parameter | None", layer.bias)
        yield weight.t() if inputs_first_class(layer) is not None else weight, None if bias is None else bias.data


def _centre(weight: Tensor, bias: Tensor | None, center: float) -> None:
    if bias is not None:
        bias.copy_(-center * weight.flatten(1).sum(1))
