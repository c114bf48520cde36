"""Packed networks as ONNX, through ONNX Runtime, against the reference of the runtime."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tieless_runtime import Network, evaluate
from tieless_runtime.operations import (
    Affine,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    MeanPool,
    MeanTime,
    Prelu,
    Quantise,
    Relu,
    Sigmoid,
    SumPool,
    Tanh,
    Threshold,
)
from tieless_runtime.weights import Weight

from tieless.deploy import to_onnx

DRAWN = runpy.run_path(str(Path(__file__).with_name("drawn.py")))


def scores(network, images):
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"input": images})[0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(network=st.one_of(DRAWN["networks"](), DRAWN["convolutions"]()), seed=st.integers(0, 2**32))
def test_integers_are_those_of_the_reference(network, seed):
    rng = np.random.default_rng(seed)
    images = (rng.standard_normal((4, *network.shape)) * rng.choice([1, 50])).astype(np.float32)
    images[0].flat[0] = np.nan
    found = scores(network, images)
    assert found.dtype == np.int32
    assert (found == evaluate(network, images)[network.output]).all()


def chain(shape, *operations):
    made = []
    for index, (cls, settings_) in enumerate(operations):
        made.append(cls(name="", inputs=(f"v{index - 1}" if index else "input",), output=f"v{index}", **settings_))
    return Network(shape, tuple(made), f"v{len(made) - 1}")


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("curve", [Tanh, Sigmoid, Relu])
def test_floats_are_those_of_the_reference(curve):
    rng = np.random.default_rng(0)
    slide = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    network = chain(
        (2, 8, 8),
        (Conv, {"weight": Weight("float", floats(rng, 6, 2, 3, 3)), "bias": floats(rng, 6), **slide}),
        (Affine, {"factor": floats(rng, 6), "offset": floats(rng, 6)}),
        (Prelu, {"slope": np.float32([0.25]), "shift": 0}),
        (curve, {}),
        (MeanPool, {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}),
        (Flatten, {}),
        (
            Lif,
            {
                "beta": np.float32([0.5]),
                "shift": 0,
                "threshold": 0.3,
                "at_threshold": 1,
                "reset": "subtract",
                "delay_reset": 0,
                "times": 3,
            },
        ),
        (Linear, {"weight": Weight("float", floats(rng, 5, 96)), "bias": floats(rng, 5)}),
        (MeanTime, {}),
    )
    images = floats(rng, 7, 2, 8, 8)
    found = scores(network, images)
    assert found.dtype == np.float32
    assert np.allclose(found, evaluate(network, images)[network.output], atol=1e-4)


def test_steps_of_floats_have_their_edges():
    """NaN meets no threshold, and an edge is met, in both directions."""
    steps = {"thresholds": np.float32([[0.5, 0.5], [1, -1]]), "direction": np.int8([1, -1]), "low": -1, "step": 1}
    network = chain((2,), (Threshold, steps))
    edges = np.float32([-2, -1, 0.5, np.nextafter(np.float32(0.5), 1), 1, np.nan, np.inf, -np.inf])
    images = np.stack([edges, edges], 1)
    assert (scores(network, images) == evaluate(network, images)["v0"]).all()


@pytest.mark.parametrize("dims", [1, 2])
def test_integers_beyond_float32_are_exact(dims):
    """Sums of 4096 products of 16 and 8 bits need 40 bits less than float32 has: odd ones would be rounded."""
    rng = np.random.default_rng(0)
    slide = {"stride": (2,) * dims, "padding": (1,) * dims, "dilation": (1,) * dims, "groups": 2}
    weights = Weight("integer", rng.integers(-128, 128, (4, 20, *(3,) * dims)).astype(np.int8), 8)
    network = chain(
        (40, *(7,) * dims),
        (Quantise, {"scale": 1.0, "low": -(2**15), "high": 2**15 - 1}),
        (Conv, {"weight": weights, "bias": np.arange(4, dtype=np.int32), **slide}),
        (
            MaxPool,
            {
                "kernel": (2,) * dims,
                "stride": (1,) * dims,
                "padding": (1,) * dims,
                "dilation": (1,) * dims,
                "least": np.uint8([0, 1, 0, 1]),
            },
        ),
        (SumPool, {"kernel": (2,) * dims, "stride": (1,) * dims}),
    )
    images = rng.integers(-(2**15), 2**15, (3, *network.shape)).astype(np.float32)
    expected = evaluate(network, images)[network.output]
    assert (np.float32(expected).astype(np.int64) != expected).any()
    assert (scores(network, images) == expected).all()


def test_sums_of_integers_that_meet_a_threshold_are_not_rounded_beside_a_float_factor():
    """A factor in the weights of the convolution would make 0.1 - 0.1 + ... of sums that are 0."""
    rng = np.random.default_rng(0)
    signs = {"thresholds": np.zeros((1, 8), np.float32), "direction": np.ones(8, np.int8), "low": -1, "step": 2}
    slide = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    network = chain(
        (8, 6, 6),
        (Threshold, signs),
        (Conv, {"weight": Weight("ternary", rng.integers(-1, 2, (8, 8, 3, 3)).astype(np.int8)), "bias": None, **slide}),
        (Affine, {"factor": np.full(8, 0.1, np.float32), "offset": np.zeros(8, np.float32)}),
        (Threshold, signs),
    )
    images = floats(rng, 20, 8, 6, 6)
    values = evaluate(network, images)
    assert (values["v2"] == 0).any()
    assert (scores(network, images) == values["v3"]).all()
