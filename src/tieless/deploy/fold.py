"""Layers folded into the operations of a packed network.

What lies between a sum and a step function (scale, bias, batch norm, sums with constants) is not computed by a packed network:
it is one threshold of each channel. So a value is kept as a source, which the network computes, and the functions of it that
are still to be applied; they are folded into a threshold, or applied when something else needs their result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from tieless_runtime import Network
from tieless_runtime.network import INPUT
from tieless_runtime.operations import (
    Add,
    Affine,
    Concat,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    MeanPool,
    MeanTime,
    Operation,
    Prelu,
    Quantise,
    Relu,
    Rescale,
    Sigmoid,
    SumPool,
    SumTime,
    Tanh,
    Threshold,
)
from tieless_runtime.values import LARGEST, Value, floats
from tieless_runtime.weights import Weight
from torch import Tensor
from torch.nn import functional as F

from tieless.deploy.graph import Graph, Layer
from tieless.deploy.grids import Gridded, exact_grid, rounded_grid
from tieless.deploy.thresholds import Steps, search, steps_of
from tieless.errors import DeployError
from tieless.forwards import (
    Forward,
    Heaviside,
    LeakyRelu,
    Linear as LinearForward,
    Logistic,
    Relu as ReluForward,
    Tanh as TanhForward,
)
from tieless.nn import LIF

PLACES = 15
"""Bits of the factors of ``rescale``, and of fractions such as the slope of a PReLU."""
FEWEST = 14
"""Bits that the numbers between integer layers have at least, however small they are."""


@dataclass(frozen=True)
class _Map:
    """Function of each channel that is a straight line, as PyTorch evaluates it.

    Args:
        function: Function of ``(k, channels, ...)``, in float32.
        factor, offset: Line of each channel, in float64; one number for all, or one for each.
    """

    function: Callable[[Tensor], Tensor]
    factor: Tensor
    offset: Tensor

    @property
    def is_scale(self) -> bool:
        """True for one factor above 0 and no offset."""
        return self.factor.numel() == 1 and float(self.factor) > 0 and not bool(self.offset.any())


@dataclass(frozen=True)
class _Pool:
    """Maximum over windows."""

    settings: dict[str, Any]


@dataclass(frozen=True)
class _Number:
    """Value that a layer makes.

    Args:
        source: Name of a value of the packed network.
        pending: Functions of it that are still to be applied, in their order.
    """

    source: str
    pending: tuple[_Map | _Pool, ...] = ()

    def then(self, *functions: _Map | _Pool) -> _Number:
        return replace(self, pending=(*self.pending, *functions))


def _flat(line: _Map, shape: tuple[int, ...]) -> _Map:
    """Line of values that are flattened."""
    channels, *places = shape
    factor, offset = (
        vector.expand(channels).repeat_interleave(math.prod(places)) for vector in (line.factor, line.offset)
    )
    return _Map(lambda x: line.function(x.reshape(-1, *shape)).flatten(1), factor, offset)


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _scaled(scale: float) -> _Map:
    return _Map(lambda x: x * scale, torch.tensor([scale], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))


def _line(factor: Tensor, offset: Tensor | None) -> _Map:
    """Line with the factor and the offset of each output, product and sum rounded."""
    shift = torch.zeros(1) if offset is None else offset.detach()

    def function(x: Tensor) -> Tensor:
        return x * _spread(factor, x) if offset is None else x * _spread(factor, x) + _spread(shift, x)

    return _Map(function, factor.double(), shift.double())


def _spread(vector: Tensor, x: Tensor) -> Tensor:
    return vector.reshape(-1, *(1,) * (x.dim() - 2))


def _norm(settings: dict[str, Any]) -> _Map:
    mean, variance, weight, bias = (settings[name] for name in ("mean", "variance", "weight", "bias"))
    factor = 1 / torch.sqrt(variance.double() + settings["eps"])
    factor = factor if weight is None else factor * weight.double()
    offset = -mean.double() * factor if bias is None else bias.double() - mean.double() * factor
    return _Map(lambda x: F.batch_norm(x, mean, variance, weight, bias, eps=settings["eps"]), factor, offset)


def _constant(settings: dict[str, Any]) -> _Map:
    vector, operator = cast("Tensor", settings["vector"]), settings["operator"]
    function = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}[operator]
    wide, zero = vector.double(), torch.zeros(1, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    factor, offset = {"add": (one, wide), "sub": (one, -wide), "mul": (wide, zero), "div": (1 / wide, zero)}[operator]
    return _Map(lambda x: function(x, _spread(vector, x)), factor, offset)


_NOT_FINITE = "{} has numbers that are NaN or infinite."


def _whole(real: Tensor, layer: str) -> Tensor:
    """Nearest integers, which 32 bits hold."""
    found = torch.round(real)
    if bool((found.abs() > LARGEST).any()):
        raise OverflowError(layer)
    return found.int()


_SAMPLES = (
    "{} changes samples that are float. With ends='int8' a linear layer or a convolution comes first: "
    "change the samples before the model, as in its data. Only a batch norm, or a factor and an offset, can come before it."
)

# Kinds that need a value itself, not only what side of a threshold it lies on.
_NEEDS_THE_VALUE = {"add", "concat", "lif", "prelu", "relu", "tanh", "sigmoid"}


def _unit(places: int | None) -> list[_Map]:
    """Factor that makes a number of what is stored: none for floats, else the last binary place."""
    return [] if places is None else [_scaled(2.0**-places)]


class Folder:
    """Maker of a packed network from the layers of a model.

    Args:
        graph: Layers.
        weight_bits: Bits to which float weights beside codes are rounded; ``None`` keeps them.
        fraction: Number of binary places of the numbers between layers, where the whole network is integer; ``None`` for
            floats.
    """

    def __init__(self, graph: Graph, weight_bits: int | None, fraction: int | None) -> None:
        self._graph = graph
        self._bits = weight_bits
        self._fraction = fraction
        self._operations: list[Operation] = []
        self._values: dict[str, Value] = {INPUT: floats(graph.shape)}
        self._numbers: dict[str, _Number] = {INPUT: _Number(INPUT)}
        self._kept: list[tuple[str, str]] = []
        self._uses: dict[str, list[str]] = {}
        for layer in graph.layers:
            for name in layer.inputs:
                self._uses.setdefault(name, []).append(layer.kind)
        products = [layer.output for layer in graph.layers if layer.kind == "product"]
        self._first = {layer.output for layer in graph.layers if layer.kind == "product" and self._fed_by_input(layer)}
        self._last = products[-1] if products else ""
        self._plain: dict[type[Forward], Callable[[Layer], _Number]] = {
            LinearForward: self._input,
            ReluForward: self._relu,
            LeakyRelu: lambda layer: self._bent(layer, torch.tensor([layer.settings["forward"].negative_slope])),
            TanhForward: self._tanh,
            Logistic: self._sigmoid,
        }

    def fold(self) -> Network:
        """Packed network.

        Raises:
            DeployError: a layer cannot be packed.
            PackedFileError: integers do not fit in 32 bits.
        """
        for layer in self._graph.layers:
            tensors = [each for each in layer.settings.values() if isinstance(each, Tensor)]
            if not all(map(_finite, tensors)):
                raise DeployError(_NOT_FINITE.format(layer.name))
            number = cast("Callable[[Layer], _Number]", getattr(self, f"_{layer.kind}"))(layer)
            if not all(_finite(each.factor) for each in number.pending if isinstance(each, _Map)):
                raise DeployError(f"{layer.name} divides by 0, or has a negative variance.")
            uses = self._uses.get(layer.output, [])
            if number.pending and len(uses) > 1 and _NEEDS_THE_VALUE & set(uses) and self._code_of(number) is None:
                number = self._computed(number, layer.name)
            self._numbers[layer.output] = number
        scores, scale = self._scores(self._numbers[self._graph.output])
        return Network(self._graph.shape, tuple(self._operations), scores, scale, tuple(self._kept))

    def _fed_by_input(self, layer: Layer) -> bool:
        """True if no product and no activation lies between the samples and a layer."""
        makers = {other.output: other for other in self._graph.layers}
        names = list(layer.inputs)
        while names:
            maker = makers.get(names.pop())
            if maker is not None and maker.kind in ("product", "activation", "lif", "relu", "prelu", "tanh", "sigmoid"):
                return False
            names += maker.inputs if maker is not None else ()
        return True

    def _emit(self, cls: type[Operation], layer: str, *inputs: str, **settings: Any) -> str:
        output = f"v{len(self._operations)}"
        operation = cls(name=layer, inputs=inputs, output=output, **settings)
        try:
            self._values[output] = operation.result(*(self._values[name] for name in inputs))
        except ValueError as error:
            error.args = (f"{layer}: {error}",)
            raise
        self._operations.append(operation)
        return output

    def _input(self, layer: Layer) -> _Number:
        return self._numbers[layer.inputs[0]]

    def _channels(self, source: str) -> int:
        return self._values[source].channels

    def _code_of(self, number: _Number) -> float | None:
        """Scale by which codes or integers become the numbers; ``None`` if the source is float or there is more to do."""
        scale = 1.0
        for each in number.pending:
            if not isinstance(each, _Map) or not each.is_scale:
                return None
            scale *= float(each.factor)
        return None if self._values[number.source].kind == "float" else scale

    def _straight(self, number: _Number) -> tuple[Tensor, Tensor]:
        """Factor and offset of each channel of all that is pending."""
        channels = self._channels(number.source)
        factor, offset = (make(channels, dtype=torch.float64) for make in (torch.ones, torch.zeros))
        for each in number.pending:
            if isinstance(each, _Map):
                factor, offset = factor * each.factor, offset * each.factor + each.offset
        return factor, offset

    def _reach(self, number: _Number) -> float:
        """Largest magnitude that a number can have, whose source is an integer."""
        value, (factor, offset) = self._values[number.source], self._straight(number)
        return float((factor.abs() * max(-value.low, value.high) + offset.abs()).max())

    def _places(self, *numbers: _Number) -> int | None:
        """Binary places of numbers in one fixed point: more than those of the network where all are small."""
        if self._fraction is None or any(self._values[number.source].kind == "float" for number in numbers):
            return None
        reach = max(map(self._reach, numbers))
        return max(self._fraction, FEWEST - math.floor(math.log2(reach))) if reach else self._fraction

    # Results that are needed as they are.

    def _computed(self, number: _Number, layer: str, places: int | None = None) -> _Number:
        """Number whose pending functions have been computed: float, or an integer times the unit of its last place.

        Args:
            number: Number.
            layer: Name of the layer that needs it.
            places: Number of binary places; ``None`` for as many as it needs.
        """
        places = self._places(number) if places is None else places
        source, lines = number.source, list[_Map]()
        for each in number.pending:
            if isinstance(each, _Map):
                lines.append(each)
                continue
            # A line that rises changes no maximum, so the pool can come first.
            if any(bool((line.factor <= 0).any()) for line in lines):
                source, lines = self._applied(source, lines, layer, places), _unit(places)
            source = self._emit(MaxPool, layer, source, **each.settings, least=None)
        return _Number(self._applied(source, lines, layer, places), tuple(_unit(places)))

    def _applied(self, source: str, lines: Sequence[_Map], layer: str, places: int | None) -> str:
        value, number = self._values[source], _Number(source, tuple(lines))
        factor, offset = self._straight(number)
        if self._fraction is None:
            if value.kind == "float" and not lines:
                return source
            return self._emit(Affine, layer, source, factor=factor.float().numpy(), offset=offset.float().numpy())
        if value.kind == "float" or places is None:
            raise DeployError(_SAMPLES.format(layer))
        wanted, offsets = factor * 2.0**places, _whole(offset * 2.0**places, layer)
        if bool((wanted == 1).all()) and not bool(offsets.any()):
            return source
        whole = _whole(wanted, layer)
        lost = (wanted - whole).abs() * max(-value.low, value.high) * 2.0**-places
        if float(lost.max()) > 2.0**-10 * min(1.0, self._reach(number)):
            shift = min(62, max(0, 24 - math.floor(math.log2(float(wanted.abs().max())))))
            factors = _whole(wanted * 2.0**shift, layer).numpy()
            source = self._emit(Rescale, layer, source, factor=factors, shift=shift, low=-LARGEST, high=LARGEST)
            whole = torch.ones_like(whole)
        return self._emit(Affine, layer, source, factor=whole.numpy(), offset=offsets.numpy())

    def _scores(self, number: _Number) -> tuple[str, float]:
        scale = self._code_of(number)
        if scale is not None and (self._fraction is not None or scale == 1):
            return number.source, scale
        computed = self._computed(number, "scores")
        return computed.source, self._code_of(computed) or 1.0

    # Linear layers and convolutions.

    def _product(self, layer: Layer) -> _Number:
        number, weights = self._input(layer), cast("Tensor", layer.settings["weight"])
        if self._fraction is not None:
            return self._integer_product(layer, number, weights)
        scale = self._code_of(number)
        grid = exact_grid(weights)
        reason = ""
        if grid is None and scale is not None and self._bits is not None and layer.output != self._last:
            grid = rounded_grid(weights, self._bits)
        if layer.output in self._first:
            reason = "it is the first layer, whose input is float: ends='int8' makes it integer"
        elif scale is None:
            reason = "its input is float: only steps and signs are packed"
        elif grid is None and layer.output == self._last:
            reason = "it is the last layer, whose weights are float: ends='int8' makes it integer"
        elif grid is None:
            reason = "its weights are float: weight_bits=8 rounds them, or quantise them before training"
        if reason:
            self._kept.append((layer.name, reason))
        if scale is None:
            number, scale = self._computed(number, layer.name), 1.0
        bias = cast("Tensor | None", layer.settings["bias"])
        if grid is None:
            weight = Weight("float", (weights.detach() * scale).contiguous().numpy())
            added = None if bias is None else bias.detach().numpy()
            return _Number(self._sum(layer, number.source, weight, added))
        source = self._sum(layer, number.source, grid.weight, None)
        return _Number(source, self._scale_and_bias(grid, scale, bias))

    @staticmethod
    def _scale_and_bias(grid: Gridded, scale: float, bias: Tensor | None) -> tuple[_Map, ...]:
        factor = grid.scale * scale
        if bool((factor == factor[0]).all()) and bias is None:
            return () if float(factor[0]) == 1 else (_scaled(float(factor[0])),)
        return (_line(factor, bias),)

    def _sum(self, layer: Layer, source: str, weight: Weight, bias: Any) -> str:
        if len(weight.shape) == 2:
            return self._emit(Linear, layer.name, source, weight=weight, bias=bias)
        sizes = {name: layer.settings[name] for name in ("stride", "padding", "dilation", "groups")}
        return self._emit(Conv, layer.name, source, weight=weight, bias=bias, **sizes)

    def _integer_product(self, layer: Layer, number: _Number, weights: Tensor) -> _Number:
        scale = self._code_of(number)
        # Codes are what they are; all else becomes integers of 8 bits.
        if self._values[number.source].kind == "float":
            number, weights, scale = self._samples(layer, number, weights)
        elif scale is None or self._values[number.source].kind != "code":
            number, scale = self._eight_bits(layer, number)
        last = layer.output == self._last
        ends = last or layer.output in self._first
        grid = exact_grid(weights) or rounded_grid(weights, 8 if ends else self._bits or 8, per_output=not last)
        bias = cast("Tensor | None", layer.settings["bias"])
        factor = grid.scale.double() * scale
        if last and bool((factor == factor[0]).all()) and (bias is None or grid.weight.bits == 8):
            # All scores have one scale, so that they can be compared. It is fine enough for a bias beside weights of 8 bits.
            added = None if bias is None else _whole(bias.double() / factor[0], layer.name).numpy()
            return _Number(self._sum(layer, number.source, grid.weight, added), (_scaled(float(factor[0])),))
        source = self._sum(layer, number.source, grid.weight, None)
        return _Number(source, self._scale_and_bias(grid, scale, bias))

    def _range(self, value: str) -> tuple[tuple[int, int], float]:
        """Integers of 8 bits that hold a value of the model on the example, and the scale by which they become its numbers."""
        low, high = self._graph.ranges[value]
        ends = (-127, 127) if low < 0 else (0, 255)
        return ends, max(abs(low), abs(high)) / ends[1] or 1.0

    def _samples(self, layer: Layer, number: _Number, weights: Tensor) -> tuple[_Number, Tensor, float]:
        """Samples in 8 bits, with the weights and the scale that a batch norm of the samples, or a line, needs behind them.

        Its offset becomes a whole number of steps of each channel, a zero point, beside which padding is still 0. What its
        factors have in common becomes part of the scale, so that weights on a grid stay there.
        """
        factor, offset = self._straight(number)
        if any(isinstance(each, _Pool) for each in number.pending):
            raise DeployError(_SAMPLES.format(layer.name))
        if not bool(factor.all()):
            raise DeployError(
                f"{layer.name} takes samples of which a channel is multiplied by 0: leave that channel out."
            )
        (low, high), scale = self._range(INPUT if number.pending else layer.inputs[0])
        scale = float(np.float32(scale))
        source = self._emit(Quantise, layer.name, number.source, scale=scale, low=low, high=high)
        zero = _whole(offset / (factor * scale), layer.name)
        if bool(zero.any()):
            ones = torch.ones_like(zero).numpy()
            source = self._emit(Affine, layer.name, source, factor=ones, offset=zero.numpy())
        common = float(factor.abs().max())
        if bool((factor != common).any()):
            groups, inputs = layer.settings.get("groups", 1), weights.shape[1]
            each = (factor / common).reshape(groups, 1, inputs, *(1,) * (weights.dim() - 2))
            weights = (weights.reshape(groups, -1, *weights.shape[1:]) * each).reshape(weights.shape).float()
        return _Number(source), weights, scale * common

    def _eight_bits(self, layer: Layer, number: _Number) -> tuple[_Number, float]:
        """Number in 8 bits, with a scale that the example's range needs."""
        ends, scale = self._range(layer.inputs[0])
        if self._code_of(number) is None:
            number = self._computed(number, layer.name)
        ratio = cast("float", self._code_of(number)) / scale
        shift = PLACES - 1 - int(np.floor(np.log2(ratio)))
        if not 0 <= shift <= 62:
            raise DeployError(
                f"{layer.name} takes numbers up to {scale * ends[1]:g} on the example, too small or too large for 8 bits."
            )
        factor = np.array([round(ratio * 2.0**shift)], np.int32)
        return _Number(
            self._emit(Rescale, layer.name, number.source, factor=factor, shift=shift, low=ends[0], high=ends[1])
        ), scale

    # Functions that wait.

    def _norm(self, layer: Layer) -> _Number:
        return self._input(layer).then(_norm(layer.settings))

    def _scale(self, layer: Layer) -> _Number:
        return self._input(layer).then(_constant(layer.settings))

    def _max_pool(self, layer: Layer) -> _Number:
        number = self._input(layer)
        if self._code_of(number) is not None and self._values[number.source].kind == "code":
            return replace(number, source=self._emit(MaxPool, layer.name, number.source, **layer.settings, least=None))
        return number.then(_Pool(layer.settings))

    def _activation(self, layer: Layer) -> _Number:
        forward = cast("Forward", layer.settings["forward"])
        plain = next((make for cls, make in self._plain.items() if isinstance(forward, cls)), None)
        if plain is not None:
            return plain(layer)
        steps = steps_of(forward)
        if steps is None:
            raise DeployError(
                f"{layer.name} has the forward {forward}, which no packed network can do: steps and signs are packed "
                "(heaviside, sign, ternary, staircase, spike_count)."
            )
        return self._step(layer, self._input(layer), forward, steps)

    def _step(self, layer: Layer, number: _Number, forward: Forward, steps: Steps) -> _Number:
        value = self._values[number.source]
        if value.kind == "float" and self._fraction is not None:
            raise DeployError(_SAMPLES.format(layer.name))
        maps = [each for each in number.pending if isinstance(each, _Map)]

        def code(x: Tensor) -> Tensor:
            y = x.float().reshape(*x.shape, *(1,) * (len(value.shape) - 1))
            for each in maps:
                y = each.function(y)
            return steps.code(forward.value(y.reshape(x.shape)))

        with torch.no_grad():
            found, direction = search(code, steps, value.channels, value.low, value.high, floats=value.kind == "float")
        settings = {"thresholds": found, "direction": direction, "low": steps.low, "step": steps.step}
        source = self._emit(Threshold, layer.name, number.source, **settings)
        for place, each in enumerate(number.pending):
            if isinstance(each, _Pool):
                least = self._falling(number.pending[place:], value.channels)
                source = self._emit(MaxPool, layer.name, source, **each.settings, least=least)
        return _Number(source, () if steps.unit == 1 else (_scaled(steps.unit),))

    @staticmethod
    def _falling(pending: Sequence[_Map | _Pool], channels: int) -> Any:
        """Channels in which what is pending falls, so that the maximum before it is the minimum behind the step."""
        falls = torch.zeros(channels, dtype=torch.bool)
        for each in pending:
            if isinstance(each, _Map):
                falls = falls ^ (each.factor < 0)
        return falls.numpy().astype(np.uint8) if bool(falls.any()) else None

    # Everything else.

    def _mean_pool(self, layer: Layer) -> _Number:
        number, settings = self._input(layer), layer.settings
        count = math.prod(cast("tuple[int, ...]", settings["kernel"]))
        whole = self._fraction is not None
        if self._code_of(number) is None and (whole or self._values[number.source].kind != "float" or number.pending):
            number = self._computed(number, layer.name)
        if self._values[number.source].kind == "float":
            return _Number(self._emit(MeanPool, layer.name, number.source, **settings))
        if any(settings["padding"]):
            if whole:
                raise DeployError(f"{layer.name} pads a mean, which no integer network can do.")
            return _Number(self._emit(MeanPool, layer.name, self._computed(number, layer.name).source, **settings))
        source = self._emit(SumPool, layer.name, number.source, kernel=settings["kernel"], stride=settings["stride"])
        return replace(number, source=source).then(_scaled(1 / count))

    def _alike(self, layer: Layer) -> tuple[list[str], _Number]:
        """Sources of all inputs in one unit, and a number in that unit."""
        given = [self._numbers[name] for name in layer.inputs]
        places = self._places(*given)
        numbers = [self._computed(number, layer.name, places) for number in given]
        return [number.source for number in numbers], numbers[0]

    def _add(self, layer: Layer) -> _Number:
        sources, alike = self._alike(layer)
        return replace(alike, source=self._emit(Add, layer.name, *sources))

    def _concat(self, layer: Layer) -> _Number:
        numbers = [self._numbers[name] for name in layer.inputs]
        values = [self._values[number.source] for number in numbers]
        scales = {self._code_of(number) for number in numbers}
        if len(scales) == 1 and None not in scales and len({(v.kind, v.low, v.step, v.most) for v in values}) == 1:
            return replace(numbers[0], source=self._emit(Concat, layer.name, *(number.source for number in numbers)))
        sources, alike = self._alike(layer)
        return replace(alike, source=self._emit(Concat, layer.name, *sources))

    def _flatten(self, layer: Layer) -> _Number:
        number = self._input(layer)
        value = self._values[number.source]
        maps = [each for each in number.pending if isinstance(each, _Map)]
        if self._fraction is not None and value.kind == "float" and len(maps) == len(number.pending):
            number = _Number(number.source, tuple(_flat(each, value.shape) for each in maps))
        elif any(not isinstance(each, _Map) or not each.is_scale for each in number.pending):
            number = self._computed(number, layer.name)
        return replace(number, source=self._emit(Flatten, layer.name, number.source))

    def _prelu(self, layer: Layer) -> _Number:
        return self._bent(layer, cast("Tensor", layer.settings["slope"]).detach())

    def _bent(self, layer: Layer, slope: Tensor) -> _Number:
        """Number itself where it is not negative, else a multiple of it."""
        number = self._computed(self._input(layer), layer.name)
        if self._fraction is None:
            return _Number(self._emit(Prelu, layer.name, number.source, slope=slope.numpy(), shift=0))
        slopes = _whole(slope.double() * 2**PLACES, layer.name).numpy()
        return replace(number, source=self._emit(Prelu, layer.name, number.source, slope=slopes, shift=PLACES))

    def _relu(self, layer: Layer) -> _Number:
        number = self._computed(self._input(layer), layer.name)
        return replace(number, source=self._emit(Relu, layer.name, number.source))

    def _curve(self, layer: Layer, cls: type[Operation]) -> _Number:
        if self._fraction is not None:
            raise DeployError(f"{layer.name} is a {cls.kind}, which no integer network can do.")
        return _Number(self._emit(cls, layer.name, self._computed(self._input(layer), layer.name).source))

    def _tanh(self, layer: Layer) -> _Number:
        return self._curve(layer, Tanh)

    def _sigmoid(self, layer: Layer) -> _Number:
        return self._curve(layer, Sigmoid)

    def _lif(self, layer: Layer) -> _Number:
        cell = cast("LIF", layer.settings["cell"])
        forward = cell.spike.forward_fn
        if not isinstance(forward, Heaviside):
            raise DeployError(f"{layer.name} spikes by {forward}, which no packed network can do: heaviside is packed.")
        number = self._input(layer)
        if cell.gain != 1:
            number = number.then(_constant({"vector": torch.tensor([cell.gain]), "operator": "mul"}))
        number = self._computed(number, layer.name)
        beta = (
            cell.beta.detach().double()
            if isinstance(cell.beta, Tensor)
            else torch.tensor([cell.beta], dtype=torch.float64)
        )
        channels = self._channels(number.source)
        if beta.numel() not in (1, channels) or (beta.numel() > 1 and beta.shape[0] != channels):
            raise DeployError(
                f"{layer.name} has a beta of shape {tuple(beta.shape)}, which no packed network can do: one, or one for each channel, is."
            )
        beta, shift, threshold = beta.reshape(-1), 0, cell.threshold
        if self._fraction is not None:
            shift = PLACES
            beta = _whole(beta * 2**shift, layer.name)
            unit = cast("float", self._code_of(number))
            threshold = float(_whole(torch.tensor(threshold / unit, dtype=torch.float64), layer.name))
        settings = {
            "beta": (beta if self._fraction is not None else beta.float()).numpy(),
            "shift": shift,
            "threshold": threshold,
            "at_threshold": int(forward.at_zero),
            "reset": cell.reset,
            "delay_reset": int(cell.delay_reset),
            "times": layer.settings["times"],
        }
        return _Number(self._emit(Lif, layer.name, number.source, **settings))

    def _sum_time(self, layer: Layer, *, mean: bool = False) -> _Number:
        number = self._input(layer)
        times = self._values[number.source].times
        if self._code_of(number) is None:
            number = self._computed(number, layer.name)
        if times and self._values[number.source].kind == "float":
            number = replace(number, source=self._emit(MeanTime, layer.name, number.source))
            return number if mean else number.then(_scaled(float(times)))
        if times:
            number = replace(number, source=self._emit(SumTime, layer.name, number.source))
            return number.then(_scaled(1 / times)) if mean else number
        raise DeployError(f"{layer.name} takes a mean or a sum over time steps that are all the same. Leave it out.")

    def _mean_time(self, layer: Layer) -> _Number:
        return self._sum_time(layer, mean=True)
