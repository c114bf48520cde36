"""Packed networks as ONNX: standard operators, thresholds folded, and integers that are exact.

Integers up to 2^24 are float32, in which sums of them are exact in any order; larger ones are int64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
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
from tieless_runtime.values import Value
from tieless_runtime.weights import Weight

from tieless.deploy.networks import checked

Array = NDArray[Any]
OPSET = 17
EXACT = 2**24
"""Largest integer up to which float32 holds them all."""


@dataclass(frozen=True)
class _Tensor:
    """Tensor of the graph: its name, and True if it is float32, else int64."""

    name: str
    short: bool = True


def to_onnx(network: Network) -> ModelProto:
    """Translate a packed network into ONNX, with one input ``input`` and one output ``scores``, batch first.

    The scores are float32, or int32 where the network is integer to its end; then they are those of
    ``tieless_runtime.evaluate``, number for number.

    Args:
        network: Network.
    Returns:
        Model of operator set 17, without custom operators.
    Raises:
        DeployError: it is no network.
    """
    return _Graph(checked(network, "to_onnx")).model()


def _largest(*bounds: int) -> int:
    return max(map(abs, bounds))


class _Graph:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._tensors: dict[str, list[_Tensor]] = {INPUT: [_Tensor("input")]}
        self._steps: dict[type[Operation], Callable[[Any, _Tensor, Value, Value], _Tensor]] = {
            Affine: self._affine,
            Conv: self._product,
            Flatten: self._flatten,
            Linear: self._product,
            MaxPool: self._max_pool,
            MeanPool: self._mean_pool,
            Prelu: self._prelu,
            Quantise: self._quantise,
            Relu: self._relu,
            Rescale: self._rescale,
            Sigmoid: self._curve,
            SumPool: self._sum_pool,
            Tanh: self._curve,
            Threshold: self._threshold,
        }

    def model(self) -> ModelProto:
        """Graph of the whole network."""
        network = self._network
        for operation in network.operations:
            inputs = [self._tensors[name] for name in operation.inputs]
            values = [network.values[name] for name in operation.inputs]
            self._tensors[operation.output] = self._over_time(operation, inputs, values)
        value = network.values[network.output]
        kind = TensorProto.FLOAT if value.kind == "float" else TensorProto.INT32
        (scores,) = self._tensors[network.output]
        self._node("Cast", scores.name, to=kind, output="scores")
        return helper.make_model(
            helper.make_graph(
                self._nodes,
                "tieless",
                [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *network.shape])],
                [helper.make_tensor_value_info("scores", kind, ["n", *value.shape])],
                self._constants,
            ),
            producer_name="tieless",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=8,
        )

    # Parts of the graph.

    def _node(self, kind: str, *inputs: str, output: str = "", **settings: Any) -> str:
        output = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def _constant(self, numbers: Any, *, short: bool | None = None) -> str:
        array = np.asarray(numbers) if short is None else np.asarray(numbers, np.float32 if short else np.int64)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def _channels(self, vector: Array, dims: int, *, short: bool) -> str:
        """Constant with a number for each channel, to be broadcast against a batch of that many dimensions."""
        return self._constant(vector.reshape(-1, *(1,) * (dims - 1)), short=short)

    def _as(self, tensor: _Tensor, *, short: bool) -> str:
        if tensor.short == short:
            return tensor.name
        return self._node("Cast", tensor.name, to=TensorProto.FLOAT if short else TensorProto.INT64)

    def _stored(self, name: str, value: Value, *, short: bool) -> _Tensor:
        """Tensor in the type that the range of its value needs."""
        wanted = value.kind == "float" or _largest(value.low, value.high) <= EXACT
        return _Tensor(self._as(_Tensor(name, short), short=wanted), wanted)

    # Time.

    def _over_time(
        self, operation: Operation, inputs: Sequence[list[_Tensor]], values: Sequence[Value]
    ) -> list[_Tensor]:
        result = self._network.values[operation.output]
        if isinstance(operation, Lif):
            return self._lif(operation, inputs[0], values[0])
        if isinstance(operation, (SumTime, MeanTime)):
            short = result.kind == "float" or _largest(result.low, result.high) <= EXACT
            name = self._sum([self._as(tensor, short=short) for tensor in inputs[0]])
            if isinstance(operation, MeanTime):
                name = self._node("Div", name, self._constant(values[0].times, short=True))
            return [_Tensor(name, short)]
        times = max(map(len, inputs))
        return [
            self._step(operation, [each[index if len(each) > 1 else 0] for each in inputs], values, result)
            for index in range(times)
        ]

    def _sum(self, names: Sequence[str]) -> str:
        total = names[0]
        for name in names[1:]:
            total = self._node("Add", total, name)
        return total

    def _step(self, operation: Operation, inputs: Sequence[_Tensor], values: Sequence[Value], result: Value) -> _Tensor:
        if isinstance(operation, (Add, Concat)):
            short = result.kind == "float" or all(tensor.short for tensor in inputs)
            names = [self._as(tensor, short=short) for tensor in inputs]
            name = self._node("Concat", *names, axis=1) if isinstance(operation, Concat) else self._node("Add", *names)
            return self._stored(name, result, short=short)
        return self._steps[type(operation)](operation, inputs[0], values[0], result)

    # Products.

    def _product(self, operation: Linear | Conv, x: _Tensor, value: Value, result: Value) -> _Tensor:
        weights = operation.weight.values
        flat = np.abs(weights.reshape(len(weights), -1).astype(np.float64)).sum(1)
        most = float(flat.max()) * _largest(value.low, value.high)
        added = 0 if operation.bias is None else float(np.abs(operation.bias.astype(np.float64)).max())
        short = result.kind == "float" or most + added <= EXACT
        given = self._as(x, short=short)
        if isinstance(operation, Linear):
            name = self._node("MatMul", given, self._constant(weights.T, short=short))
        elif short:
            pads = [*operation.padding, *operation.padding]
            settings: dict[str, Any] = {
                "strides": list(operation.stride),
                "dilations": list(operation.dilation),
                "pads": pads,
            }
            name = self._node("Conv", given, self._constant(weights, short=True), group=operation.groups, **settings)
        else:
            name = self._taps(operation, given, result)
        if operation.bias is not None:
            name = self._node("Add", name, self._channels(operation.bias, len(result.shape), short=short))
        return self._stored(name, result, short=short)

    def _taps(self, operation: Conv, x: str, result: Value) -> str:
        """Convolution of int64, which ONNX Runtime has not: a matrix product for each place of the window."""
        weights, groups = operation.weight.values, operation.groups
        outputs, inputs, *kernel = weights.shape
        dims, places = len(kernel), result.shape[1:]
        pads = [0, 0, *operation.padding] * 2
        padded = self._node("Pad", x, self._constant(np.array(pads, np.int64)), self._constant(0, short=False))
        products: list[str] = []
        for place in itertools.product(*map(range, kernel)):
            starts = np.array([at * spread for at, spread in zip(place, operation.dilation, strict=True)], np.int64)
            stride = np.array(operation.stride, np.int64)
            ends = starts + (np.array(places, np.int64) - 1) * stride + 1
            axes = np.arange(2, 2 + dims, dtype=np.int64)
            seen = self._node("Slice", padded, *map(self._constant, (starts, ends, axes, stride)))
            seen = self._node("Reshape", seen, self._constant(np.array([0, groups, inputs, -1], np.int64)))
            tap = weights[(slice(None), slice(None), *place)].reshape(1, groups, outputs // groups, inputs)
            products.append(self._node("MatMul", self._constant(tap, short=False), seen))
        return self._node("Reshape", self._sum(products), self._constant(np.array([0, *result.shape], np.int64)))

    # Operations on single numbers.

    def _shifted(self, x: str, shift: int) -> str:
        """``x / 2^shift`` of int64, halves upwards."""
        if not shift:
            return x
        unit = self._constant(2**shift, short=False)
        moved = self._node("Add", x, self._constant(2 ** (shift - 1), short=False))
        return self._node("Div", self._node("Sub", moved, self._node("Mod", moved, unit)), unit)

    def _quantise(self, operation: Quantise, x: _Tensor, value: Value, result: Value) -> _Tensor:
        rounded = self._node("Round", self._node("Div", x.name, self._constant(operation.scale, short=True)))
        low, high = (self._constant(end, short=True) for end in (operation.low, operation.high))
        clipped = self._node("Clip", rounded, low, high)
        return _Tensor(self._node("Where", self._node("IsNaN", x.name), low, clipped))

    def _threshold(self, operation: Threshold, x: _Tensor, value: Value, result: Value) -> _Tensor:
        levels, up = operation.thresholds, operation.direction > 0
        if value.kind != "float":
            # Beyond the range all thresholds are the same, and float32 holds those that are left.
            levels = np.clip(levels.astype(np.int64), value.low - 1, value.high + 1)
        dims, name = len(value.shape), x.name
        table = levels.reshape(*levels.shape, *(1,) * (dims - 1))
        if len(levels) > 1:
            name = self._node("Unsqueeze", name, self._constant(np.array([1], np.int64)))
        else:
            table = table[0]
        against = self._constant(table, short=x.short)
        if up.all():
            met = self._node("GreaterOrEqual", name, against)
        elif not up.any():
            met = self._node("LessOrEqual", name, against)
        else:
            # ONNX Runtime chooses between no two bools.
            rises, falls = (self._constant(mask.reshape(-1, *(1,) * (dims - 1))) for mask in (up, ~up))
            met = self._node(
                "Or",
                self._node("And", rises, self._node("GreaterOrEqual", name, against)),
                self._node("And", falls, self._node("LessOrEqual", name, against)),
            )
        code = self._node("Cast", met, to=TensorProto.FLOAT)
        if len(levels) > 1:
            code = self._node("ReduceSum", code, self._constant(np.array([1], np.int64)), keepdims=0)
        return _Tensor(self._line(code, operation.step, operation.low))

    def _line(self, x: str, factor: int, offset: int) -> str:
        if factor != 1:
            x = self._node("Mul", x, self._constant(factor, short=True))
        return self._node("Add", x, self._constant(offset, short=True)) if offset else x

    def _affine(self, operation: Affine, x: _Tensor, value: Value, result: Value) -> _Tensor:
        factor, offset, dims = operation.factor, operation.offset, len(value.shape)
        short = result.kind == "float" or (
            int(np.abs(factor.astype(np.int64)).max()) * _largest(value.low, value.high)
            + int(np.abs(offset.astype(np.int64)).max())
            <= EXACT
        )
        # The constant comes first, or ONNX Runtime takes it into the weights of a convolution, whose sums are then rounded.
        scaled = self._node("Mul", self._channels(factor, dims, short=short), self._as(x, short=short))
        return self._stored(self._node("Add", scaled, self._channels(offset, dims, short=short)), result, short=short)

    def _prelu(self, operation: Prelu, x: _Tensor, value: Value, result: Value) -> _Tensor:
        short = result.kind == "float"
        given = self._as(x, short=short)
        scaled = self._node("Mul", given, self._channels(operation.slope, len(value.shape), short=short))
        scaled = scaled if short else self._shifted(scaled, operation.shift)
        positive = self._node("GreaterOrEqual", given, self._constant(0, short=short))
        return self._stored(self._node("Where", positive, given, scaled), result, short=short)

    def _relu(self, operation: Relu, x: _Tensor, value: Value, result: Value) -> _Tensor:
        name = self._node("Max", x.name, self._constant(0, short=x.short))
        return self._stored(name, result, short=x.short)

    def _curve(self, operation: Tanh, x: _Tensor, value: Value, result: Value) -> _Tensor:
        return _Tensor(self._node("Sigmoid" if isinstance(operation, Sigmoid) else "Tanh", x.name))

    def _rescale(self, operation: Rescale, x: _Tensor, value: Value, result: Value) -> _Tensor:
        factor = self._channels(operation.factor, len(value.shape), short=False)
        shifted = self._shifted(self._node("Mul", self._as(x, short=False), factor), operation.shift)
        ends = (self._constant(end, short=False) for end in (operation.low, operation.high))
        return self._stored(self._node("Clip", shifted, *ends), result, short=False)

    # Windows.

    def _max_pool(self, operation: MaxPool, x: _Tensor, value: Value, result: Value) -> _Tensor:
        # Integers of 32 bits are exact in float64.
        given = x.name if x.short else self._node("Cast", x.name, to=TensorProto.DOUBLE)
        settings: dict[str, Any] = {
            "kernel_shape": list(operation.kernel),
            "strides": list(operation.stride),
            "dilations": list(operation.dilation),
            "pads": [*operation.padding, *operation.padding],
        }
        most = self._node("MaxPool", given, **settings)
        if operation.least is not None and operation.least.any():
            least = self._node("Neg", self._node("MaxPool", self._node("Neg", given), **settings))
            mask = self._constant(operation.least.astype(bool).reshape(-1, *(1,) * (len(value.shape) - 1)))
            most = self._node("Where", mask, least, most)
        return _Tensor(most if x.short else self._node("Cast", most, to=TensorProto.INT64), x.short)

    def _sum_pool(self, operation: SumPool, x: _Tensor, value: Value, result: Value) -> _Tensor:
        ones = np.ones((value.channels, 1, *operation.kernel), np.int8)
        still = (0,) * len(operation.kernel)
        short = int(np.prod(operation.kernel)) * _largest(value.low, value.high) <= EXACT
        if short:
            settings: dict[str, Any] = {"strides": list(operation.stride), "group": value.channels}
            name = self._node("Conv", self._as(x, short=True), self._constant(ones, short=True), **settings)
        else:
            conv = Conv(
                name="",
                inputs=(),
                output="",
                weight=Weight("integer", ones, 2),
                bias=None,
                stride=operation.stride,
                padding=still,
                dilation=tuple(1 for _ in still),
                groups=value.channels,
            )
            name = self._taps(conv, self._as(x, short=False), result)
        return self._stored(name, result, short=short)

    def _mean_pool(self, operation: MeanPool, x: _Tensor, value: Value, result: Value) -> _Tensor:
        return _Tensor(
            self._node(
                "AveragePool",
                x.name,
                kernel_shape=list(operation.kernel),
                strides=list(operation.stride),
                pads=[*operation.padding, *operation.padding],
                count_include_pad=1,
            )
        )

    def _flatten(self, operation: Flatten, x: _Tensor, value: Value, result: Value) -> _Tensor:
        return _Tensor(self._node("Flatten", x.name, axis=1), x.short)

    # Spikes.

    def _lif(self, operation: Lif, inputs: list[_Tensor], value: Value) -> list[_Tensor]:
        short = value.kind == "float"
        beta = self._channels(operation.beta, len(value.shape), short=short)
        threshold = self._constant(operation.threshold, short=short)
        potential, fired = "", ""
        spikes: list[_Tensor] = []
        for step in range(operation.times):
            current = self._as(inputs[step if len(inputs) > 1 else 0], short=short)
            if potential:
                potential = self._node("Mul", beta, potential)
                potential = potential if short else self._shifted(potential, operation.shift)
                if operation.delay_reset:
                    potential = self._reset(operation, potential, fired, threshold, short=short)
                potential = self._node("Add", potential, current)
            else:
                potential = current
            fired = self._node("GreaterOrEqual" if operation.at_threshold else "Greater", potential, threshold)
            spikes.append(_Tensor(self._node("Cast", fired, to=TensorProto.FLOAT)))
            if not operation.delay_reset:
                potential = self._reset(operation, potential, fired, threshold, short=short)
        return spikes

    def _reset(self, operation: Lif, potential: str, fired: str, threshold: str, *, short: bool) -> str:
        if operation.reset == "none":
            return potential
        if operation.reset == "zero":
            return self._node("Where", fired, self._constant(0, short=short), potential)
        return self._node("Where", fired, self._node("Sub", potential, threshold), potential)
