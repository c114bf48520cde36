"""The meaning of a packed network, in plain NumPy: slow, and equal to what every faster path computes.

Integers are int64 here, so nothing can overflow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tieless_runtime.errors import PackedInputError
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

Array = NDArray[Any]


def evaluate(network: Network, images: ArrayLike) -> dict[str, Array]:
    """Every value of a packed network.

    Args:
        network: Network.
        images: Samples, ``(n, ...)``, which become float32.
    Raises:
        PackedInputError: the samples have another shape, or are no numbers.
    Returns:
        Name of each value, and its numbers: float32, or int64 for integers; codes are given as the numbers that they
        stand for. The shape is ``(n, ...)``, or ``(times, n, ...)`` for a value that changes over time.
    """
    samples = np.asarray(images)
    if samples.shape[1:] != network.shape or samples.dtype.kind not in "fiub":
        raise PackedInputError(
            f"The samples must be numbers of shape {('n', *network.shape)}, got {samples.dtype} of shape {samples.shape}."
        )
    found: dict[str, Array] = {INPUT: samples.astype(np.float32)}
    for operation in network.operations:
        inputs = [found[name] for name in operation.inputs]
        found[operation.output] = apply(operation, inputs, [network.values[name] for name in operation.inputs])
    return found


def apply(operation: Operation, inputs: Sequence[Array], values: Sequence[Value]) -> Array:
    """Result of one operation, from the numbers and the types of its inputs, as in ``evaluate``."""
    if isinstance(operation, Add):
        return inputs[0] + inputs[1]
    if isinstance(operation, Concat):
        return np.concatenate(inputs, axis=2 if values[0].times else 1)
    (x,), (value,) = inputs, values
    if isinstance(operation, Lif):
        return _lif(operation, x if value.times else np.broadcast_to(x, (operation.times, *x.shape)))
    if isinstance(operation, SumTime):
        return x.sum(0)
    if isinstance(operation, MeanTime):
        return (x.sum(0, dtype=np.float32) / np.float32(value.times)).astype(np.float32)
    # All others look at one time step, so time steps are samples to them.
    lead = x.shape[: 2 if value.times else 1]
    result = _STEPWISE[type(operation)](operation, x.reshape(-1, *value.shape))
    return result.reshape(*lead, *result.shape[1:])


def _spread(vector: Array, x: Array) -> Array:
    """Numbers of the channels, to be broadcast against ``(n, channels, ...)``."""
    return (vector.astype(np.int64) if vector.dtype != np.float32 else vector).reshape(-1, *(1,) * (x.ndim - 2))


def _padded(x: Array, padding: Sequence[int], filler: Any) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *((pad, pad) for pad in padding)], constant_values=filler)


def _taps(
    x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Each place in a window, with the numbers that all windows have there: ``(n, channels, ...)``."""
    sizes = [
        (size - spread * (window - 1) - 1) // step + 1
        for size, window, step, spread in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    for place in itertools.product(*map(range, kernel)):
        slices = (
            slice(index * spread, index * spread + (size - 1) * step + 1, step)
            for index, spread, size, step in zip(place, dilation, sizes, stride, strict=True)
        )
        yield place, x[(slice(None), slice(None), *slices)]


def _weights(operation: Linear | Conv, x: Array) -> tuple[Array, Array]:
    """Input and weights in the dtype of their product: int64, or float32 if either is float."""
    weights = operation.weight.values
    exact = np.float32 not in (x.dtype, weights.dtype)
    return (
        (x.astype(np.int64), weights.astype(np.int64)) if exact else (x.astype(np.float32), weights.astype(np.float32))
    )


def _linear(operation: Linear, x: Array) -> Array:
    x, weights = _weights(operation, x)
    sums = cast("Array", x @ weights.T)
    return sums if operation.bias is None else sums + operation.bias


def _conv(operation: Conv, x: Array) -> Array:
    x, weights = _weights(operation, x)
    groups, kernel = operation.groups, weights.shape[2:]
    weights = weights.reshape(groups, -1, *weights.shape[1:])
    sums = cast("Array", np.zeros((), x.dtype))
    for place, seen in _taps(_padded(x, operation.padding, 0), kernel, operation.stride, operation.dilation):
        split = seen.reshape(len(seen), groups, -1, *seen.shape[2:])
        product = np.einsum("ngi...,goi->ngo...", split, weights[(slice(None), slice(None), slice(None), *place)])
        sums = sums + product.reshape(len(seen), -1, *seen.shape[2:])
    return sums if operation.bias is None else sums + _spread(operation.bias, sums)


def _threshold(operation: Threshold, x: Array) -> Array:
    up = _spread(operation.direction, x) > 0
    met = np.stack([np.where(up, x >= _spread(level, x), x <= _spread(level, x)) for level in operation.thresholds])
    return operation.low + operation.step * met.sum(0, dtype=np.int64)


def _affine(operation: Affine, x: Array) -> Array:
    if operation.factor.dtype == np.float32:
        x = x.astype(np.float32)
    return x * _spread(operation.factor, x) + _spread(operation.offset, x)


def _shifted(x: Array, shift: int) -> Array:
    return (x + (1 << shift >> 1)) >> shift if shift else x


def _prelu(operation: Prelu, x: Array) -> Array:
    product = x * _spread(operation.slope, x)
    return np.where(x >= 0, x, product if x.dtype == np.float32 else _shifted(product, operation.shift))


def _quantise(operation: Quantise, x: Array) -> Array:
    with np.errstate(over="ignore"):  # what is infinite is clipped
        scaled = np.clip(np.rint(x / np.float32(operation.scale)), operation.low, operation.high)
    return np.where(np.isnan(scaled), operation.low, scaled).astype(np.int64)


def _rescale(operation: Rescale, x: Array) -> Array:
    return np.clip(_shifted(x * _spread(operation.factor, x), operation.shift), operation.low, operation.high)


def _max_pool(operation: MaxPool, x: Array) -> Array:
    def most(numbers: Array) -> Array:
        filler = -np.inf if numbers.dtype == np.float32 else np.iinfo(np.int64).min + 1
        padded = _padded(numbers, operation.padding, filler)
        taps = _taps(padded, operation.kernel, operation.stride, operation.dilation)
        return np.maximum.reduce([seen for _, seen in taps])

    if operation.least is None:
        return most(x)
    return np.where(_spread(operation.least, x) > 0, -most(-x), most(x))


def _pooled(operation: SumPool | MeanPool, x: Array) -> Array:
    taps = _taps(x, operation.kernel, operation.stride, (1,) * len(operation.kernel))
    return np.sum([seen for _, seen in taps], axis=0, dtype=x.dtype)


def _mean_pool(operation: MeanPool, x: Array) -> Array:
    return _pooled(operation, _padded(x, operation.padding, 0)) / np.float32(np.prod(operation.kernel))


def _lif(operation: Lif, x: Array) -> Array:
    whole = x.dtype != np.float32
    threshold: Any = int(operation.threshold) if whole else np.float32(operation.threshold)
    beta = _spread(operation.beta, x[0])
    v = np.zeros_like(x[0])
    fired = np.zeros(x.shape[1:], bool)
    spikes: list[Array] = []
    for current in x:
        v = _shifted(beta * v, operation.shift) if whole else beta * v
        if operation.delay_reset:
            v = _reset(operation, v, fired, threshold)
        v = v + current
        fired = v >= threshold if operation.at_threshold else v > threshold
        spikes.append(fired.astype(np.int64))
        if not operation.delay_reset:
            v = _reset(operation, v, fired, threshold)
    return np.stack(spikes)


def _reset(operation: Lif, v: Array, fired: Array, threshold: Any) -> Array:
    if operation.reset == "none":
        return v
    return np.where(fired, v - threshold if operation.reset == "subtract" else np.zeros_like(v), v)


def _flatten(operation: Flatten, x: Array) -> Array:
    return x.reshape(len(x), -1)


def _relu(operation: Relu, x: Array) -> Array:
    return np.maximum(x, 0)


def _sigmoid(operation: Sigmoid, x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the quotient 0
        return cast("Array", np.float32(1) / (np.float32(1) + np.exp(-x)))


def _tanh(operation: Tanh, x: Array) -> Array:
    return np.tanh(x)


_STEPWISE = cast(
    "dict[type[Operation], Callable[[Any, Array], Array]]",
    {
        Affine: _affine,
        Conv: _conv,
        Flatten: _flatten,
        Linear: _linear,
        MaxPool: _max_pool,
        MeanPool: _mean_pool,
        Prelu: _prelu,
        Quantise: _quantise,
        Relu: _relu,
        Rescale: _rescale,
        Sigmoid: _sigmoid,
        SumPool: _pooled,
        Tanh: _tanh,
        Threshold: _threshold,
    },
)
