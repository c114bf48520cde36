"""Networks of one packed layer and what may follow it, drawn by Hypothesis, with integers alone."""

import numpy as np
from hypothesis import strategies as st
from tieless_runtime import Network
from tieless_runtime.operations import (
    Add,
    Affine,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    MeanPool,
    Prelu,
    Quantise,
    Rescale,
    SumPool,
    SumTime,
    Threshold,
)
from tieless_runtime.values import floats
from tieless_runtime.weights import Weight

from tests.runtime.networks import weight

KINDS = ("linear", "conv1d", "conv2d", "flattened")
WEIGHTS = ("binary", "ternary", "integer")
UNIT = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


class Builder:
    """Operations that follow each other, each with the value of the one before."""

    def __init__(self, shape):
        self.shape, self.operations, self.values = shape, [], {"input": floats(shape)}

    def add(self, cls, *inputs, **settings):
        before = f"v{len(self.operations) - 1}" if self.operations else "input"
        made = cls(name=cls.kind, inputs=inputs or (before,), output=f"v{len(self.operations)}", **settings)
        self.operations.append(made)
        self.values[made.output] = made.result(*(self.values[name] for name in made.inputs))
        return self.values[made.output]

    @property
    def network(self):
        return Network(self.shape, tuple(self.operations), self.operations[-1].output)


def threshold(draw, rng, value, levels):
    """Thresholds near sums that occur, some never met and some always, and in both directions."""
    spread = max(2, min(40, (value.high - value.low) // 4))
    middle = (value.low + value.high) // 2
    edges = rng.integers(middle - spread, middle + spread + 1, (levels, value.channels)).astype(np.int32)
    for extreme in (2**31 - 1, -(2**31)):
        edges[:, rng.random(value.channels) < 0.1] = extreme
    low, step = draw(st.sampled_from([(-1, 2), (0, 1)] if levels == 1 else [(0, 1), (-1, 1)]))
    direction = rng.choice([-1, 1], value.channels).astype(np.int8)
    return {"thresholds": edges, "direction": direction, "low": low, "step": step}


@st.composite
def networks(draw, kind, weights):
    """Network of a layer of a kind, with codes of 1 to 3 bits as its input, and the samples to run it with."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from([1, 3, 8, 33, 63, 64, 65, 130]))
    dims = {"linear": 0, "conv1d": 1, "conv2d": 2, "flattened": 2}[kind]
    shape = (channels, *(draw(st.integers(1, 9)) for _ in range(dims)))
    made = Builder(shape)
    value = made.add(Quantise, scale=1.0, low=-8, high=7)
    value = made.add(Threshold, **threshold(draw, rng, value, draw(st.integers(1, 4))))
    if kind == "flattened":
        value = made.add(Flatten)
    outputs = draw(st.sampled_from([1, 7, 8, 10, 16, 32, 40, 70]))
    bias = draw(st.sampled_from([None, rng.integers(-9, 9, outputs).astype(np.int32)]))
    bits = draw(st.integers(2, 8)) if weights == "integer" else 0
    if kind.startswith("conv"):
        groups = draw(st.sampled_from([g for g in (1, 1, 1, 3, channels) if channels % g == 0 and outputs % g == 0]))
        kernel, settings = windows(draw, shape)
        drawn = weight(rng, weights, (outputs, channels // groups, *kernel), bits)
        value = made.add(Conv, weight=drawn, bias=bias, groups=groups, **settings)
    else:
        value = made.add(Linear, weight=weight(rng, weights, (outputs, value.size), bits), bias=bias)
    following(draw, rng, made, value)
    images = rng.integers(-9, 9, (draw(st.integers(1, 5)), *shape)).astype(np.float32)
    return made.network, images


def windows(draw, shape):
    """Settings of windows over the places of a value, and the kernel."""
    kernel = tuple(draw(st.integers(1, min(4, size))) for size in shape[1:])
    reach = [
        draw(st.sampled_from([d for d in (1, 2, 3) if d * (k - 1) < size]))
        for k, size in zip(kernel, shape[1:], strict=True)
    ]
    return kernel, {
        "dilation": tuple(reach),
        "stride": tuple(draw(st.integers(1, 3)) for _ in kernel),
        "padding": tuple(draw(st.integers(0, d * (k - 1))) for d, k in zip(reach, kernel, strict=True)),
    }


@st.composite
def networks_of_numbers(draw, kind):
    """Network of a product of integers or of floats, whose sums floats hold exactly, with a pool before or behind it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, dims = draw(st.sampled_from([1, 2, 3, 5, 16, 19])), draw(st.sampled_from([0, 1, 2, 2]))
    made = Builder((channels, *(draw(st.integers(1, 9)) for _ in range(dims))))
    value, low, high = made.values["input"], -9, 9
    if kind == "integers":
        low, high = draw(st.sampled_from([(0, 255), (-128, 127), (-9, -3), (3, 200), (-300, 300), (0, 32767)]))
        value = made.add(Quantise, scale=draw(st.sampled_from([1.0, 0.5])), low=low, high=high)
    if dims and draw(st.integers(0, 3)) == 0:
        value = pooled(draw, rng, made, value)
    outputs = draw(st.sampled_from([1, 7, 16, 33, 64, 70]))
    weights, bits = draw(st.sampled_from([("binary", 0), ("ternary", 0), ("integer", 3), ("integer", 8)]))
    if len(value.shape) > 1 and draw(st.booleans()):
        value = made.add(Flatten)
    conv = len(value.shape) > 1
    kernel, settings = windows(draw, value.shape) if conv else ((), {})
    groups = draw(st.sampled_from([g for g in (1, 1, channels) if outputs % g == 0])) if conv else 1
    drawn = weight(rng, weights, (outputs, value.channels // groups, *kernel), bits)
    bias = rng.integers(-99, 99, outputs).astype(np.int32)
    if kind == "floats":
        drawn, bias = Weight("float", drawn.values.astype(np.float32)), bias.astype(np.float32)
    bias = draw(st.sampled_from([None, bias]))
    value = made.add(
        Conv if conv else Linear, weight=drawn, bias=bias, **settings, **({"groups": groups} if conv else {})
    )
    after = draw(st.sampled_from(["nothing", "threshold", "pool", "product"]))
    if after == "threshold":
        edges = rng.integers(-60, 60, (draw(st.sampled_from([1, 1, 2])), outputs))
        edges = edges.astype(np.int32 if kind == "integers" else np.float32)
        made.add(Threshold, thresholds=edges, direction=rng.choice([-1, 1], outputs).astype(np.int8), low=-1, step=2)
    elif after == "pool" and conv:
        pooled(draw, rng, made, value)
    elif after == "product" and not conv:
        made.add(Linear, weight=weight(rng, "ternary", (5, outputs)), bias=None)
    samples = rng.integers(low - 9, high + 9, (draw(st.integers(1, 6)), *made.shape))
    return made.network, samples.astype(np.float32)


def pooled(draw, rng, made, value):
    """Add a pool of numbers."""
    kernel, settings = windows(draw, value.shape)
    if draw(st.booleans()):
        least = draw(st.sampled_from([None, None, rng.integers(0, 2, value.channels).astype(np.uint8)]))
        settings["padding"] = tuple(min(each, k // 2) for each, k in zip(settings["padding"], kernel, strict=True))
        # With more, a window can lie in the padding alone.
        settings["dilation"] = tuple(map(min, settings["dilation"], value.shape[1:]))
        return made.add(MaxPool, kernel=kernel, least=least, **settings)
    if value.kind == "float":
        # Means of as many numbers as a power of two are exact.
        kernel = tuple(1 << (size.bit_length() - 1) for size in kernel)
        padding = tuple(min(size // 2, pad) for size, pad in zip(kernel, settings["padding"], strict=True))
        return made.add(MeanPool, kernel=kernel, stride=settings["stride"], padding=padding)
    return made.add(SumPool, kernel=kernel, stride=settings["stride"])


def lines(rng, made, channels):
    """Add an integer line, a PReLU, a fraction and thresholds of its result."""
    vectors = rng.integers(-5, 6, (3, channels)).astype(np.int32)
    made.add(Affine, factor=vectors[0], offset=vectors[1])
    made.add(Prelu, slope=vectors[2], shift=2)
    made.add(Rescale, factor=rng.integers(-9, 10, 1).astype(np.int32), shift=3, low=-100, high=120)
    edges = rng.integers(-100, 120, (1, channels)).astype(np.int32)
    made.add(Threshold, thresholds=edges, direction=rng.choice([-1, 1], channels).astype(np.int8), low=-1, step=2)


def following(draw, rng, made, value):
    """Add what may follow a sum: nothing, thresholds, a pool of the sums or of their bits, a sum, or spikes."""
    after = draw(st.sampled_from(["nothing", "threshold", "threshold", "levels", "pool", "sum", "spikes", "lines"]))
    if after == "sum":
        value = made.add(Add, *(made.operations[-1].output,) * 2)
    if after == "lines":
        lines(rng, made, value.channels)
        return
    if after == "spikes":
        settings = {"beta": np.int32([2**14]), "shift": 15, "threshold": 3.0, "at_threshold": 0, "delay_reset": 0}
        made.add(Lif, reset=draw(st.sampled_from(["subtract", "zero"])), times=3, **settings)
        made.add(SumTime)
        return
    if after in ("threshold", "levels"):
        value = made.add(Threshold, **threshold(draw, rng, value, 1 if after == "threshold" else 3))
    if after != "nothing" and len(value.shape) > 1 and draw(st.booleans()):
        kernel = tuple(min(2, size) for size in value.shape[1:])
        if draw(st.booleans()):
            made.add(SumPool, kernel=kernel, stride=kernel)
        else:
            least = draw(st.sampled_from([None, rng.integers(0, 2, value.channels).astype(np.uint8)]))
            sizes = {"stride": kernel, "padding": tuple(k // 2 for k in kernel), "dilation": (1,) * len(kernel)}
            made.add(MaxPool, kernel=kernel, least=least, **sizes)
    if after == "threshold" and draw(st.booleans()):
        value = made.values[made.operations[-1].output]
        value = made.add(Flatten) if len(value.shape) > 1 else value
        made.add(Linear, weight=weight(rng, "binary", (9, value.size)), bias=None)
