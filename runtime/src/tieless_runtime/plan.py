"""Steps by which a packed network runs: values in memory with their channels last, products by kernels.

A float or an integer is ``(n, height, width, channels)``, float32 or int32; a code is planes of words,
``(planes, n, height, width, words)``, bit ``c`` of the words being channel ``c``. ``n`` counts samples, times their time
steps. What no kernel does is done by the reference.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportCallIssue=false
# (NumPy does not know the dtype behind a transpose or a pad, and Numba has no types)

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tieless_runtime import reference
from tieless_runtime.bits import BitProduct, can_count, ungrouped
from tieless_runtime.dense import ByteProduct, FloatProduct, OneBit, Quantiser, can_be_bytes
from tieless_runtime.kernels import rows
from tieless_runtime.network import INPUT, Network
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
from tieless_runtime.windows import words_of

Array = NDArray[Any]
Step = Callable[[list[Array]], Array]


def laid_out(value: Value) -> tuple[int, int, int]:
    """Channels, height and width of a value."""
    channels, *places = value.shape
    return channels, *((1,) * (2 - len(places))), *places  # pyright: ignore[reportReturnType]


class Plan:
    """Steps of a packed network for one path.

    Args:
        network: Network.
        path: Name of the path: ``"avx512"``, ``"avx2"`` or ``"plain"``.
    """

    def __init__(self, network: Network, path: str) -> None:
        self._network, self._path = network, path
        self._values = network.values
        # A flattened code stays as it is; its place in memory is that of the value before.
        self._places = {INPUT: laid_out(self._values[INPUT])}
        self._users = Counter(name for each in network.operations for name in each.inputs)
        self._users[network.output] += 1
        self._makers = {each.output: each for each in network.operations}
        self.steps: list[tuple[str, tuple[str, ...], str, Step]] = []
        done: set[str] = set()
        for operation in network.operations:
            if operation.output not in done:
                done |= self._add(operation)
        last = {name: index for index, (_, inputs, _, _) in enumerate(self.steps) for name in inputs}
        kept = network.output
        self._done = [[n for n, at in last.items() if at == index and n != kept] for index in range(len(self.steps))]

    def run(self, images: NDArray[np.float32]) -> Array:
        """Scores of samples ``(n, ...)``."""
        channels, height, width = laid_out(self._values[INPUT])
        first = images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        held: dict[str, Array] = {INPUT: np.ascontiguousarray(first)}
        for index, (_, inputs, output, step) in enumerate(self.steps):
            held[output] = step([held[name] for name in inputs])
            for name in self._done[index]:
                del held[name]
        scores = self._numbers(held[self._network.output], self._network.output)
        return scores.reshape(len(images), *self._values[self._network.output].shape)

    def _only_user(self, name: str, *kinds: type[Operation]) -> Operation | None:
        """Operation of one of these kinds that is the only one to take a value."""
        if self._users[name] != 1:
            return None
        return next(
            (each for each in self._network.operations if name in each.inputs and isinstance(each, kinds)), None
        )

    def _add(self, operation: Operation) -> set[str]:
        """Add the step of an operation, and of those that are done with it; the names of what they make."""
        if isinstance(operation, Quantise):
            return self._quantise(operation)
        if isinstance(operation, (Linear, Conv)):
            return self._product(operation)
        plain = all(self._places[name] == laid_out(self._values[name]) for name in operation.inputs)
        if plain and self._is_float(operation) and isinstance(operation, (Affine, Add, Prelu)):
            return self._line(operation)
        whole = self._values[operation.inputs[0]].kind == "int" and not self._is_float(operation)
        if plain and whole and isinstance(operation, (Affine, Prelu, Rescale)):
            return self._fraction(operation)
        made = self._other(operation, self._values[operation.inputs[0]])
        self._append(operation.name, operation.inputs, operation.output, made or self._by_reference(operation))
        return {operation.output}

    def _append(self, name: str, inputs: tuple[str, ...], output: str, step: Step) -> None:
        self.steps.append((name, inputs, output, step))
        self._places.setdefault(output, laid_out(self._values[output]))

    def _is_float(self, operation: Operation) -> bool:
        return self._values[operation.output].kind == "float"

    # Conversions between layouts.

    def _numbers(self, x: Array, name: str) -> Array:
        """Numbers of a value, ``(n, *shape)``, channels first: float32 or int32."""
        value, (channels, height, width) = self._values[name], self._places[name]
        if value.kind == "code":
            x = self._decoded(x, value, channels, np.int32)
        return x.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(-1, *value.shape)

    @staticmethod
    def _decoded(x: Array, value: Value, channels: int, dtype: Any) -> Array:
        """Numbers that codes stand for, channels last."""
        planes, *lead, words = x.shape
        out = np.empty((math.prod(lead), channels), dtype)
        rows.numbers(np.ascontiguousarray(x).reshape(planes, -1, words), value.low, value.step, channels, out)
        return out.reshape(*lead, channels)

    @staticmethod
    def _coded(x: Array, value: Value) -> Array:
        """Codes of numbers, channels last."""
        out = np.empty((value.planes, math.prod(x.shape[:-1]), words_of(x.shape[-1])), np.uint64)
        rows.codes(np.ascontiguousarray(x).reshape(-1, x.shape[-1]), value.low, value.step, out)
        return out.reshape(value.planes, *x.shape[:-1], -1)

    def _from_numbers(self, x: Array, name: str) -> Array:
        value = self._values[name]
        channels, height, width = laid_out(value)
        x = np.ascontiguousarray(x.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))
        return (
            self._coded(x, value)
            if value.kind == "code"
            else x.astype(np.float32 if value.kind == "float" else np.int32)
        )

    def _by_reference(self, operation: Operation) -> Step:
        values = [self._values[name] for name in operation.inputs]

        def step(inputs: list[Array]) -> Array:
            given = [self._numbers(x, name) for x, name in zip(inputs, operation.inputs, strict=True)]
            given = [x if x.dtype == np.float32 else x.astype(np.int64) for x in given]
            given = [x.reshape(v.times, -1, *v.shape) if v.times else x for x, v in zip(given, values, strict=True)]
            return self._from_numbers(reference.apply(operation, given, values), operation.output)

        return step

    # Steps.

    def _quantise(self, operation: Quantise) -> set[str]:
        """Integers of floats, as the bytes that a product takes, if it is all that does."""
        user, value = self._only_user(operation.output, Linear, Conv), self._values[operation.output]
        if user is not None and can_be_bytes(ungrouped(cast("Linear | Conv", user)), value):
            self._places[operation.output] = self._places[operation.inputs[0]]
            return {operation.output, *self._product(cast("Linear | Conv", user), operation)}

        whole = Quantiser(operation)
        self._append(
            operation.name,
            operation.inputs,
            operation.output,
            lambda inputs: whole(inputs[0], np.empty(inputs[0].shape, np.int32)),
        )
        return {operation.output}

    def _product(self, operation: Linear | Conv, before: Quantise | None = None) -> set[str]:
        """Product in bits, in integers or in float32, from floats if its input is quantised, and the threshold behind it."""
        value, (channels, *place) = self._values[operation.inputs[0]], self._places[operation.inputs[0]]
        here = place[0], place[1]
        if value.kind != "float":
            operation = ungrouped(operation)
        after = cast("Threshold | None", self._only_user(operation.output, Threshold))
        after = after if after is not None and len(after.thresholds) == 1 else None
        counts, whole = can_count(operation, value), can_be_bytes(operation, value)
        if isinstance(operation, Conv) and operation.groups > 1:
            self._append(operation.name, operation.inputs, operation.output, self._by_reference(operation))
            return {operation.output}
        made: Callable[[Any], Array] = (
            BitProduct(operation, value, here, after, self._path)
            if counts
            else ByteProduct(operation, value, channels, here, after, self._path, before)
            if whole
            else FloatProduct(operation, channels, here, after, self._path)
        )

        def step(inputs: list[Array]) -> Array:
            x = inputs[0]
            if value.kind == "code" and not counts:
                x = self._decoded(x, value, channels, np.int32 if whole else np.float32)
            return made(x if counts or whole else x.astype(np.float32, copy=False))

        last = after or operation
        self._append(operation.name, (before or operation).inputs, last.output, step)
        return {operation.output, last.output}

    def _line(self, first: Operation) -> set[str]:
        """Lines, sums with another value and PReLUs that follow each other, in one pass."""
        parts: dict[str, Operation] = {}
        chain, last = list[Operation](), first
        order = ("line", "other", "slope", "shift")
        place = -1
        while True:
            kind = (
                "other"
                if isinstance(last, Add)
                else "slope"
                if isinstance(last, Prelu)
                else "line"
                if place < 0
                else "shift"
            )
            parts[kind] = last
            chain.append(last)
            place = order.index(kind)
            user = self._only_user(last.output, Affine, Add, Prelu)
            if user is None or not self._is_float(user):
                break
            following = "other" if isinstance(user, Add) else "slope" if isinstance(user, Prelu) else "shift"
            others = [name for name in user.inputs if name != last.output]
            known = all(name in self._places for name in others)
            if order.index(following) <= place or len(others) != len(user.inputs) - 1 or not known:
                break
            last = user
        # A value that does not change over time, beside one that does, is left to the reference.
        if len({self._values[name].times for each in chain for name in each.inputs}) > 1:
            self._append(first.name, first.inputs, first.output, self._by_reference(first))
            return {first.output}
        start = first.inputs[0]
        other = (
            next((name for name in parts["other"].inputs if name != _before(parts["other"], chain, start)), start)
            if "other" in parts
            else None
        )
        none = np.zeros(1, np.float32)
        channels = self._values[last.output].channels
        line, slope, shift = (parts.get(kind) for kind in ("line", "slope", "shift"))
        factor, offset = (line.factor, line.offset) if isinstance(line, Affine) else (none, none)
        slopes = np.broadcast_to(slope.slope, channels).copy() if isinstance(slope, Prelu) else none
        shifts = np.stack([shift.factor, shift.offset]) if isinstance(shift, Affine) else np.zeros((2, 1), np.float32)
        value, inputs = self._values[start], (start,) if other is None else (start, other)

        def step(given: list[Array]) -> Array:
            x = self._decoded(given[0], value, channels, np.int32) if value.kind == "code" else given[0]
            flat = x.reshape(-1, x.shape[-1])
            out = np.empty(flat.shape, np.float32)
            second = out if other is None else given[1].reshape(flat.shape)
            flags = (line is not None, other is not None, slope is not None, shift is not None)
            rows.line(flat, factor, offset, second, slopes, shifts, *flags, out)
            return out.reshape(x.shape)

        self._append(last.name, inputs, last.output, step)
        return {each.output for each in chain}

    def _other(self, operation: Operation, value: Value) -> Step | None:  # noqa: PLR0911  (one for each kind)
        """Step of what is neither a product nor a line; ``None`` leaves it to the reference."""
        flattened = self._places[operation.inputs[0]] != laid_out(value)
        if flattened:
            return None
        if isinstance(operation, Threshold) and value.kind != "code":
            return self._threshold(operation)
        if isinstance(operation, (MaxPool, SumPool, MeanPool)):
            return self._pool(operation, value)
        if isinstance(operation, Flatten):
            return self._flatten(operation, value)
        if isinstance(operation, Concat) and (
            value.kind != "code" or all(self._values[n].channels % 64 == 0 for n in operation.inputs)
        ):
            return lambda inputs: np.concatenate(inputs, axis=-1)
        if isinstance(operation, (Relu, Tanh, Sigmoid, Rescale, Affine, Prelu)) and value.kind != "code":
            return self._elementwise(operation, value)
        if (
            isinstance(operation, Add)
            and {self._values[n].kind for n in operation.inputs} == {"int"}
            and len({self._values[n].times for n in operation.inputs}) == 1
        ):
            return lambda inputs: inputs[0] + inputs[1]
        if isinstance(operation, Lif):
            return self._spikes(operation, value)
        if isinstance(operation, (SumTime, MeanTime)) and value.kind != "code":
            return self._over_time(operation, value)
        return None

    def _threshold(self, operation: Threshold) -> Step:
        result = self._values[operation.output]
        if len(operation.thresholds) == 1 and result.channels % 16 == 0:
            one = OneBit(operation)
            return lambda inputs: one(inputs[0])

        def step(inputs: list[Array]) -> Array:
            x = inputs[0]
            out = np.empty((result.planes, math.prod(x.shape[:-1]), words_of(x.shape[-1])), np.uint64)
            rows.threshold(x.reshape(-1, x.shape[-1]), operation.thresholds, operation.direction, out)
            return out.reshape(result.planes, *x.shape[:-1], -1)

        return step

    def _pool(self, operation: MaxPool | SumPool | MeanPool, value: Value) -> Step | None:
        dims = len(operation.kernel)

        def two(setting: Sequence[int], lead: int) -> NDArray[np.int64]:
            return np.array([*(lead,) * (2 - dims), *setting], np.int64)

        kernel, stride = two(operation.kernel, 1), two(operation.stride, 1)
        padding = two(getattr(operation, "padding", (0,) * dims), 0)
        dilation = two(getattr(operation, "dilation", (1,) * dims), 1)
        _, height, width = laid_out(self._values[operation.output])
        channels, result = value.channels, self._values[operation.output]
        least = operation.least if isinstance(operation, MaxPool) else None
        if value.kind == "code" and isinstance(operation, MaxPool):
            if value.planes > 1:
                return None
            bits = np.zeros(64 * words_of(channels), np.uint8)
            bits[:channels] = 0 if least is None else least
            fewest = np.packbits(bits, bitorder="little").view(np.uint64)

            def or_step(inputs: list[Array]) -> Array:
                out = np.empty((1, inputs[0].shape[1], height, width, len(fewest)), np.uint64)
                rows.pool_bits(inputs[0][0], kernel, stride, padding, dilation, fewest, out[0])
                return out

            return or_step
        if least is not None:
            return None
        total = not isinstance(operation, MaxPool)

        def step(inputs: list[Array]) -> Array:
            x = self._decoded(inputs[0], value, channels, np.int32) if value.kind == "code" else inputs[0]
            out = np.empty((len(x), height, width, channels), x.dtype)
            lowest = 0 if total else -np.inf if x.dtype == np.float32 else np.iinfo(np.int32).min
            rows.pool(x, kernel, stride, padding, dilation, x.dtype.type(lowest), total, out)
            if isinstance(operation, MeanPool):
                out /= np.float32(math.prod(operation.kernel))
            return self._coded(out, result) if result.kind == "code" else out

        return step

    def _flatten(self, operation: Flatten, value: Value) -> Step:
        channels, height, width = laid_out(value)
        if value.kind == "code":
            self._places[operation.output] = (channels, height, width)
            return lambda inputs: inputs[0]
        if channels == 1 or height * width == 1:
            return lambda inputs: inputs[0].reshape(-1, 1, 1, value.size)
        return lambda inputs: np.ascontiguousarray(inputs[0].transpose(0, 3, 1, 2)).reshape(-1, 1, 1, value.size)

    def _fraction(self, first: Operation) -> set[str]:
        """Integers times a fraction of each channel, an offset, a sum with another value and a PReLU behind them, in one pass."""
        chain = [first]
        while (following := self._only_user(chain[-1].output, Affine, Add, Prelu)) is not None:
            if not self._continues(chain, following):
                break
            chain.append(following)
        start, channels = first.inputs[0], self._values[first.output].channels
        parts = {type(each): each for each in chain}
        ones, none = np.ones(channels, np.int32), np.zeros(channels, np.int32)
        factor, offset, shift, low, high = ones, none, 0, -(2**62), 2**62
        if isinstance(scale := parts.get(Rescale), Rescale):
            factor, shift, low, high = scale.factor, scale.shift, scale.low, scale.high
        if isinstance(line := parts.get(Affine), Affine):
            factor, offset = line.factor if scale is None else factor, line.offset
        slope, bend = (each.slope, each.shift) if isinstance(each := parts.get(Prelu), Prelu) else (ones, 0)
        factor, slope = (np.broadcast_to(each, channels).copy() for each in (factor, slope))
        inputs, has_slope = (start,), Prelu in parts
        if (add := parts.get(Add)) is not None:
            before = _before(add, chain, start)
            inputs = start, next(name for name in add.inputs if name != before)

        def step(given: list[Array]) -> Array:
            flat = given[0].reshape(-1, channels)
            out = np.empty(flat.shape, np.int32)
            other = given[-1].reshape(flat.shape)
            rows.fraction(flat, factor, offset, shift, low, high, other, slope, bend, len(given) > 1, has_slope, out)
            return out.reshape(given[0].shape)

        self._append(chain[-1].name, inputs, chain[-1].output, step)
        return {each.output for each in chain}

    def _continues(self, chain: Sequence[Operation], following: Operation) -> bool:
        """True if an operation can be part of the pass of those before it."""
        last = chain[-1]
        if isinstance(following, Affine):
            plain = self._values[following.output].kind == "int" and bool((following.factor == 1).all())
            return isinstance(last, Rescale) and plain
        if isinstance(following, Prelu):
            return not isinstance(last, Prelu)
        others = [name for name in following.inputs if name != last.output]
        alike = all(
            name in self._places
            and self._values[name].kind == "int"
            and self._values[name].times == self._values[last.output].times
            for name in others
        )
        return isinstance(last, (Rescale, Affine)) and len(others) == 1 and alike

    def _elementwise(self, operation: Operation, value: Value) -> Step:
        """Function of each number by the reference, for which rows of channels are samples without places."""
        dtype = np.float32 if self._is_float(operation) else np.int32
        rows_only = replace(value, shape=(value.channels,), times=0)

        def step(inputs: list[Array]) -> Array:
            x = inputs[0]
            flat = x.reshape(-1, x.shape[-1])
            flat = flat if flat.dtype == np.float32 else flat.astype(np.int64)
            return reference.apply(operation, [flat], [rows_only]).reshape(x.shape).astype(dtype)

        return step

    @staticmethod
    def _spikes(operation: Lif, value: Value) -> Step:
        whole, channels = value.kind != "float", value.channels
        # Potentials fit in 32 bits, their products with beta do not.
        beta = np.broadcast_to(operation.beta.astype(np.int64 if whole else np.float32), channels).copy()
        number = np.int64 if whole else np.float32
        threshold = number(operation.threshold)
        flags = (bool(operation.at_threshold), bool(operation.delay_reset), operation.reset == "zero")
        settings = (operation.shift, threshold, *flags, threshold if operation.reset == "subtract" else number(0))
        kernel = rows.spikes_of_integers if whole else rows.spikes_of_floats

        def step(inputs: list[Array]) -> Array:
            x = inputs[0].reshape(max(1, value.times), -1, channels)
            out = np.empty((operation.times, x.shape[1], words_of(channels)), np.uint64)
            kernel(x, beta, *settings, out)
            return out.reshape(1, -1, *inputs[0].shape[1:-1], out.shape[-1])

        return step

    def _over_time(self, operation: SumTime | MeanTime, value: Value) -> Step:
        result = self._values[operation.output]

        def step(inputs: list[Array]) -> Array:
            x = inputs[0] if inputs[0].dtype == np.float32 else inputs[0].astype(np.int64)
            channels, lead = x.shape[-1], x.shape[1:]
            flat = x.reshape(value.times, -1, channels) if value.times else x.reshape(-1, channels)
            found = reference.apply(operation, [flat], [value.reshaped((channels,))])
            found = found.reshape(-1, *lead)
            return (
                self._coded(found, result)
                if result.kind == "code"
                else found.astype(np.float32 if result.kind == "float" else np.int32)
            )

        return step


def _before(operation: Operation, chain: Sequence[Operation], start: str) -> str:
    """Name of the value of a chain that one of its operations takes."""
    place = chain.index(operation)
    return chain[place - 1].output if place else start
