"""Networks drawn at random, for the tests of the runtime."""

import numpy as np
from tieless_runtime import Network
from tieless_runtime.operations import Affine, Conv, Flatten, Linear, MaxPool, Quantise, Threshold
from tieless_runtime.weights import Weight


def weight(rng, kind, shape, bits=0):
    if kind == "float":
        return Weight(kind, rng.standard_normal(shape).astype(np.float32))
    values = {
        "binary": lambda: 2 * rng.integers(0, 2, shape) - 1,
        "ternary": lambda: rng.integers(-1, 2, shape),
        "integer": lambda: rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape),
    }[kind]()
    return Weight(kind, values.astype(np.int8), bits)


def small_network(rng, low=-1, step=2):
    """Quantised input, convolution, thresholds, pooling and a padded binary convolution, then a linear layer."""
    sizes = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    operations = (
        Quantise(name="in", inputs=("input",), output="q", scale=1 / 255, low=0, high=255),
        Conv(name="0", inputs=("q",), output="a", weight=weight(rng, "integer", (6, 1, 3, 3), 4), bias=None, **sizes),
        Threshold(
            name="1",
            inputs=("a",),
            output="b",
            thresholds=rng.integers(-500, 500, (1, 6)).astype(np.int32),
            direction=rng.choice([-1, 1], 6).astype(np.int8),
            low=low,
            step=step,
        ),
        MaxPool(name="2", inputs=("b",), output="c", least=rng.integers(0, 2, 6).astype(np.uint8), **pool),
        Conv(name="3", inputs=("c",), output="d", weight=weight(rng, "binary", (8, 6, 3, 3)), bias=None, **sizes),
        Flatten(name="4", inputs=("d",), output="e"),
        Linear(name="5", inputs=("e",), output="f", weight=weight(rng, "ternary", (10, 8 * 16)), bias=None),
        Affine(
            name="6",
            inputs=("f",),
            output="scores",
            factor=rng.standard_normal(10).astype(np.float32),
            offset=rng.standard_normal(10).astype(np.float32),
        ),
    )
    return Network((1, 8, 8), operations, "scores", kept_float=(("6", "its norm is the scores"),))
