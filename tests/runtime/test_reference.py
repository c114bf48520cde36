"""The reference of packed networks against PyTorch's operations, and its spiking cell against ours."""

import numpy as np
import pytest
import torch
from tieless_runtime import Network, PackedFileError, evaluate
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
    Prelu,
    Quantise,
    Relu,
    Rescale,
    SumPool,
    SumTime,
    Threshold,
)
from tieless_runtime.weights import Weight
from torch.nn import functional as F

from tieless.nn import LIF

RNG = np.random.default_rng(0)


def run(shape, *operations, images=None):
    """Samples, and the values of operations that follow each other, as tensors."""
    images = RNG.standard_normal((3, *shape)).astype(np.float32) if images is None else images
    made = []
    for index, (cls, settings) in enumerate(operations):
        usual = {"name": "", "inputs": (f"v{index - 1}" if index else "input",), "output": f"v{index}"}
        made.append(cls(**(usual | settings)))
    values = evaluate(Network(shape, tuple(made), f"v{len(made) - 1}"), images)
    return torch.from_numpy(images), [torch.from_numpy(np.asarray(values[f"v{index}"])) for index in range(len(made))]


QUANTISE = (Quantise, {"scale": 0.25, "low": -7, "high": 7})
SIGNS = (
    Threshold,
    {"thresholds": np.zeros((1, 4), np.float32), "direction": np.ones(4, np.int8), "low": -1, "step": 2},
)


@pytest.mark.parametrize("first", [QUANTISE, SIGNS], ids=["integers", "signs"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4), (3, 1, 1, 1)]
)
@pytest.mark.parametrize("dims", [1, 2])
def test_a_convolution_is_pytorchs_with_zeros_at_the_border(first, stride, padding, dilation, groups, dims):
    weight = RNG.integers(-3, 4, (8, 4 // groups, *(3,) * dims)).astype(np.int8)
    bias = RNG.integers(-9, 9, 8).astype(np.int32)
    sizes = {"stride": (stride,) * dims, "padding": (padding,) * dims, "dilation": (dilation,) * dims}
    conv = (Conv, {"weight": Weight("integer", weight, 3), "bias": bias, **sizes, "groups": groups})
    _, (x, y) = run((4, *(9,) * dims), first, conv)
    expected = (F.conv1d if dims == 1 else F.conv2d)(
        x.double(),
        torch.from_numpy(weight).double(),
        torch.from_numpy(bias).double(),
        stride,
        padding,
        dilation,
        groups,
    )
    assert torch.equal(y.double(), expected)


def test_codes_that_stand_for_signs_have_them_everywhere():
    images, (bits,) = run((4, 5), SIGNS)
    assert torch.equal(bits.float(), torch.where(images >= 0, 1.0, -1.0))


def test_thresholds_count_in_the_direction_of_their_channel():
    settings = {"thresholds": np.float32([[0, 1], [1, 0]]), "direction": np.int8([1, -1]), "low": 0, "step": 1}
    images = np.float32([[0, 0], [1, 1], [0.5, 0.5], [-1, 2], [np.nan, np.nan], [np.inf, -np.inf]])
    _, (found,) = run((2,), (Threshold, settings), images=images)
    assert found.tolist() == [[1, 2], [2, 1], [1, 1], [0, 0], [0, 0], [2, 2]]


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2)])
def test_pools_are_pytorchs(kernel):
    window = {"kernel": kernel, "stride": (2, 1)}
    images, (x, y) = run(
        (3, 7, 6), QUANTISE, (MaxPool, {**window, "padding": (1, 1), "dilation": (1, 1), "least": None})
    )
    assert torch.equal(y.double(), F.max_pool2d(x.double(), kernel, (2, 1), (1, 1)))
    least = np.uint8([1, 0, 1])
    _, (x, y) = run((3, 7, 6), QUANTISE, (MaxPool, {**window, "padding": (1, 1), "dilation": (1, 1), "least": least}))
    turned = x.double() * torch.tensor([-1.0, 1, -1])[:, None, None]
    assert torch.equal(
        y.double(), F.max_pool2d(turned, kernel, (2, 1), (1, 1)) * torch.tensor([-1.0, 1, -1])[:, None, None]
    )
    _, (x, y) = run((3, 7, 6), QUANTISE, (SumPool, window))
    assert torch.equal(y.double(), F.avg_pool2d(x.double(), kernel, (2, 1), divisor_override=1))
    images, (y,) = run((3, 7, 6), (MeanPool, {**window, "padding": (1, 1)}))
    assert torch.allclose(y, F.avg_pool2d(images, kernel, (2, 1), (1, 1)), atol=1e-6)


def test_floats_are_pytorchs():
    weight, factor, offset = (RNG.standard_normal(size).astype(np.float32) for size in ((5, 12), 4, 4))
    images, (relu, affine, prelu, flat, linear) = run(
        (4, 3),
        (Relu, {}),
        (Affine, {"factor": factor, "offset": offset}),
        (Prelu, {"slope": np.float32([0.25]), "shift": 0}),
        (Flatten, {}),
        (Linear, {"weight": Weight("float", weight), "bias": None}),
    )
    assert torch.equal(relu, F.relu(images))
    assert torch.allclose(affine, relu * torch.from_numpy(factor)[:, None] + torch.from_numpy(offset)[:, None])
    assert torch.equal(prelu, F.prelu(affine, torch.tensor([0.25])))
    assert torch.equal(flat, prelu.flatten(1))
    assert torch.allclose(linear, F.linear(flat, torch.from_numpy(weight)), atol=1e-5)


def test_fractions_of_integers_are_rounded_to_the_nearest_and_halves_upwards():
    images = np.arange(-8, 8, dtype=np.float32)[:, None]
    quantise = (Quantise, {"scale": 1.0, "low": -8, "high": 7})
    rescale = (Rescale, {"factor": np.int32([3]), "shift": 2, "low": -4, "high": 4})
    _, (x, y) = run((1,), quantise, rescale, images=images)
    assert torch.equal(y.double(), torch.floor(x.double() * 0.75 + 0.5).clamp(-4, 4))
    _, (x, y) = run((1,), quantise, (Prelu, {"slope": np.int32([3]), "shift": 2}), images=images)
    assert torch.equal(y.double(), torch.where(x >= 0, x.double(), torch.floor(x.double() * 0.75 + 0.5)))


def test_values_are_joined_and_added():
    _, found = run(
        (2, 3),
        QUANTISE,
        (Concat, {"inputs": ("v0", "v0")}),
        (Add, {"inputs": ("v1", "v1")}),
    )
    assert torch.equal(found[1], torch.cat([found[0], found[0]], 1))
    assert torch.equal(found[2], 2 * found[1])


@pytest.mark.parametrize("at_threshold", [0, 1])
@pytest.mark.parametrize("delay_reset", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_a_spiking_cell_is_ours(reset, delay_reset, at_threshold):
    # Eighths: no number is rounded, and potentials meet the threshold exactly.
    images = (RNG.integers(-8, 12, (50, 4)) / 8).astype(np.float32)
    settings = {"beta": np.float32([0.5]), "shift": 0, "threshold": 1.0, "reset": reset, "times": 5}
    settings |= {"at_threshold": at_threshold, "delay_reset": int(delay_reset)}
    x, (spikes, counts) = run((4,), (Lif, settings), (SumTime, {}), images=images)
    cell = LIF(0.5, reset=reset, delay_reset=delay_reset, forward=f"heaviside(at_zero={at_threshold})")
    expected, _ = cell.over_time(x.expand(5, *x.shape))
    assert 0 < expected.mean() < 1
    assert torch.equal(spikes.float(), expected)
    assert torch.equal(counts.float(), expected.sum(0))
    # The same in integers, an eighth being 1: halves of odd potentials are rounded, so those are left out.
    whole = {**settings, "beta": np.int32([128]), "shift": 8, "threshold": 8.0, "times": 2}
    _, (_, spikes, _) = run(
        (4,),
        (Quantise, {"scale": 0.25, "low": -99, "high": 99}),
        (Lif, {**whole, "threshold": 4.0}),
        (SumTime, {}),
        images=2 * images // 1,
    )
    cell.threshold = 1.0
    x = torch.from_numpy(2 * images // 1)
    assert torch.equal(spikes[0].float(), cell(x)[0])


def test_a_mean_over_time_is_the_mean():
    settings = {"beta": np.float32([1.0]), "shift": 0, "threshold": 1.0, "reset": "none", "times": 4}
    _, found = run(
        (3,),
        (Lif, {**settings, "at_threshold": 0, "delay_reset": 0}),
        (Affine, {"factor": np.full(3, 2, np.float32), "offset": np.zeros(3, np.float32)}),
        (MeanTime, {}),
    )
    assert torch.equal(found[2], 2 * found[0].float().mean(0))


def test_a_sum_that_32_bits_do_not_hold_is_refused():
    weight = Weight("integer", np.full((1, 2**17), 127, np.int8), 8)
    with pytest.raises(PackedFileError, match=r"operation linear of head: integers from .* do not fit in 32 bits"):
        Network(
            (2**17,),
            (
                Quantise(name="", inputs=("input",), output="q", scale=1.0, low=-200, high=127),
                Linear(name="head", inputs=("q",), output="y", weight=weight, bias=None),
            ),
            "y",
        )


def test_a_maximum_of_padding_alone_is_refused():
    pool = {"kernel": (2,), "stride": (1,), "padding": (1,), "dilation": (2,), "least": None}
    with pytest.raises(PackedFileError, match="a window lies in the padding alone"):
        run((1, 1), QUANTISE, (MaxPool, pool))
    run((1, 2), QUANTISE, (MaxPool, pool))
