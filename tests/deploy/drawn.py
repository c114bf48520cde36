"""Integer networks drawn at random: every kind of layer that integers allow, in any order that the format takes."""

import numpy as np
from hypothesis import strategies as st
from tieless_runtime import Network, PackedFileError
from tieless_runtime.operations import (
    Add,
    Affine,
    Concat,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    Prelu,
    Quantise,
    Relu,
    Rescale,
    SumPool,
    SumTime,
    Threshold,
)
from tieless_runtime.values import floats
from tieless_runtime.weights import Weight


def weights(draw, rng, shape):
    kind = draw(st.sampled_from(["binary", "ternary", "integer"]))
    bits = draw(st.integers(2, 8)) if kind == "integer" else 0
    low, high = {"binary": (0, 2), "ternary": (-1, 2)}.get(
        kind, (-(2 ** (bits - 1)), 2 ** (bits - 1)) if bits else None
    )
    values = rng.integers(low, high, shape)
    return Weight(kind, (2 * values - 1 if kind == "binary" else values).astype(np.int8), bits)


def linear(draw, rng, value):
    shape = (draw(st.sampled_from([1, 2, 7, 9, 40])), value.size)
    bias = rng.integers(-50, 50, shape[0]).astype(np.int32) if draw(st.booleans()) else None
    return Linear, {"weight": weights(draw, rng, shape), "bias": bias}


def conv(draw, rng, value):
    dims = len(value.shape) - 1
    groups = draw(st.sampled_from([d for d in (1, 2, 3, value.channels) if value.channels % d == 0]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    stride, dilation = (tuple(draw(st.integers(1, 2)) for _ in kernel) for _ in range(2))
    padding = tuple(draw(st.integers(0, spread * (size - 1))) for size, spread in zip(kernel, dilation, strict=True))
    shape = (groups * draw(st.integers(1, 4)), value.channels // groups, *kernel)
    bias = rng.integers(-50, 50, shape[0]).astype(np.int32) if draw(st.booleans()) else None
    return Conv, {
        "weight": weights(draw, rng, shape),
        "bias": bias,
        "groups": groups,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }


def threshold(draw, rng, value):
    codes = draw(st.sampled_from([1, 1, 1, 2, 3, 15]))
    found = rng.integers(value.low - 1, value.high + 2, (codes, value.channels))
    found = np.where(rng.random(found.shape) < 0.05, rng.choice([-(2**31), 2**31 - 1], found.shape), found)
    direction = (
        rng.choice([-1, 1], value.channels)
        if draw(st.booleans())
        else np.full(value.channels, draw(st.sampled_from([-1, 1])))
    )
    low, step = draw(st.sampled_from([(0, 1), (-1, 2), (-1, 1), (2, 3)]))
    settings = {"thresholds": found.astype(np.int32), "direction": direction.astype(np.int8), "low": low, "step": step}
    return Threshold, settings


def affine(draw, rng, value):
    factor = rng.integers(-9, 9, value.channels) if draw(st.booleans()) else np.ones(value.channels)
    offset = rng.integers(-99, 99, value.channels) if draw(st.booleans()) else np.zeros(value.channels)
    return Affine, {"factor": factor.astype(np.int32), "offset": offset.astype(np.int32)}


def fractions(draw, rng, value, low, high):
    count = draw(st.sampled_from([1, value.channels]))
    return rng.integers(low, high, count).astype(np.int32)


def prelu(draw, rng, value):
    return Prelu, {"slope": fractions(draw, rng, value, -9, 9), "shift": draw(st.integers(0, 4))}


def rescale(draw, rng, value):
    low, high = draw(st.sampled_from([(0, 255), (-128, 127), (-2000, 3000), (-(2**31) + 2, 2**31 - 2)]))
    shift = draw(st.integers(0, 40))
    factor = fractions(draw, rng, value, -(2 ** min(shift, 30)) - 3, 2 ** min(shift, 30) + 3)
    return Rescale, {"factor": factor, "shift": shift, "low": low, "high": high}


def pool(draw, rng, value):
    kernel = tuple(draw(st.integers(1, 3)) for _ in value.shape[1:])
    stride = tuple(draw(st.integers(1, 3)) for _ in kernel)
    if draw(st.booleans()):
        return SumPool, {"kernel": kernel, "stride": stride}
    least = rng.integers(0, 2, value.channels).astype(np.uint8) if draw(st.booleans()) else None
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    dilation = tuple(draw(st.integers(1, 2)) for _ in kernel)
    return MaxPool, {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "least": least}


def lif(draw, rng, value):
    shift = draw(st.integers(0, 8))
    return Lif, {
        "beta": fractions(draw, rng, value, 0, 2**shift + 1),
        "shift": shift,
        "threshold": float(draw(st.integers(-3, 40))),
        "at_threshold": draw(st.integers(0, 1)),
        "reset": draw(st.sampled_from(["subtract", "zero", "none"])),
        "delay_reset": draw(st.integers(0, 1)),
        "times": value.times or draw(st.integers(1, 4)),
    }


def settle(draw, rng, value):
    return (SumTime, {}) if value.times else (Flatten, {})


def relu(draw, rng, value):
    return Relu, {}


def product(draw, rng, value):
    if len(value.shape) > 1:
        return conv(draw, rng, value)
    return linear(draw, rng, value)


MAKERS = [product, product, threshold, threshold, threshold, affine, prelu, rescale, pool, lif, settle, relu]


class Chain:
    """Operations that are added if the format takes them."""

    def __init__(self, shape):
        self.shape, self.operations, self.values = shape, [], {"input": floats(shape)}

    def emit(self, cls, settings, *inputs):
        output = f"v{len(self.operations)}"
        operation = cls(name=f"layer {output}", inputs=inputs, output=output, **settings)
        try:
            self.values[output] = operation.result(*(self.values[name] for name in inputs))
        except PackedFileError:
            return None
        self.operations.append(operation)
        return output

    def quantised(self, draw, name="input"):
        low, high = draw(st.sampled_from([(0, 255), (-127, 127), (-5, 3), (3, 200)]))
        return self.emit(
            Quantise, {"scale": draw(st.sampled_from([1.0, 0.25, 1 / 255])), "low": low, "high": high}, name
        )

    @property
    def integers(self):
        return [name for name, value in self.values.items() if value.kind != "float"]

    def network(self, output):
        if self.values[output].times:
            untimed = [name for name in self.integers if not self.values[name].times]
            output = self.emit(SumTime, {}, output) or untimed[0]
        return Network(self.shape, tuple(self.operations), output)


def shapes(draw, dims):
    if dims == 1:
        return (draw(st.sampled_from([1, 5, 16, 40])),)
    return (draw(st.sampled_from([1, 2, 3, 9])), *(draw(st.integers(3, 7)) for _ in range(dims - 1)))


@st.composite
def networks(draw):
    """Network of layers in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    chain = Chain(shapes(draw, draw(st.sampled_from([3, 3, 2, 1]))))
    flat = draw(st.integers(0, 7)) == 7
    now = chain.quantised(draw, chain.emit(Flatten, {}, "input") if flat else "input")
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            now = draw(st.sampled_from(chain.integers))
        elif kind <= 2:
            cls, other = Add if kind == 1 else Concat, draw(st.sampled_from(chain.integers))
            now = chain.emit(cls, {}, now, other) or chain.emit(cls, {}, now, now) or now
        else:
            made = draw(st.sampled_from(MAKERS))
            made = product if made is pool and len(chain.values[now].shape) == 1 else made
            now = chain.emit(*made(draw, rng, chain.values[now]), now) or now
    return chain.network(now)


@st.composite
def convolutions(draw):
    """Network of two convolutions, the second beside codes of a few bits, then perhaps a pool, steps and a linear layer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    chain = Chain(shapes(draw, draw(st.sampled_from([2, 3]))))
    now = chain.quantised(draw)
    for made in (conv, threshold, lif, conv, pool, threshold, relu, pool, threshold):
        if made not in (relu, lif, pool) or draw(st.booleans()):
            now = chain.emit(*made(draw, rng, chain.values[now]), now) or now
    now = chain.emit(SumTime, {}, now) or now
    now = chain.emit(Flatten, {}, now) or now
    return chain.network(chain.emit(*linear(draw, rng, chain.values[now]), now) or now)
