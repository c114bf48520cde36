"""The judge of ``python -m tests.deploy``: which of the bits that differ from the model's count as rounding."""

import copy

import pytest
import torch
from torch import nn

import tieless as tl
from tests.deploy.__main__ import ROUNDING, Bits
from tieless.deploy import pack

IMAGES = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]).reshape(3, 2, 1, 1)


def model():
    torch.manual_seed(0)
    step = tl.Activation("heaviside", "rectangular")
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), step, nn.Linear(3, 2)).eval()
    net[1].weight.data = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    net[1].bias.data = torch.tensor([-2.25, -2.0, -0.25])  # the first sum of the second image is -0.25
    return net


def counted(single, double):
    """Counts of the bits of the network, beside a model in float32 and one in float64 whose first sums are moved."""
    moved = [copy.deepcopy(model()) for _ in range(2)]
    for net, shift in zip(moved, (single, double), strict=True):
        net[1].bias.data[0] += shift
    bits = Bits()
    bits.add(moved[0], moved[1].double(), pack(model(), IMAGES).network, IMAGES)
    return bits


@pytest.mark.parametrize(
    ("single", "double", "differ", "near"),
    [
        (0, 0, (0, 0), 0),
        (0.5, 0, (1, 0), 1),  # the bit is that of float64, so float32 is what was rounded
        (0, 0.5, (0, 1), 0),
        (0.5, 0.5, (1, 1), 0),
        (0, 0.25 + 0.5 * ROUNDING, (0, 1), 1),  # the largest number of the image is 1.25
        (0, 0.25 + 4 * ROUNDING, (0, 1), 0),
    ],
)
def test_a_bit_counts_as_rounding_if_it_is_that_of_float64_or_its_number_is_near(single, double, differ, near):
    bits = counted(single, double)
    assert (bits.all, bits.single, bits.double) == (9, *differ)
    assert (bits.first, bits.near) == (max(differ), near)
