"""Forwards that take the place of PyTorch's functions have their values, bit for bit, whatever its parameters."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tieless.convert.functions import KINDS, NAMES, Function, equal_forward, function_of, kind_of_class
from tieless.forwards import Elementwise

PARAMETERS = {
    "celu": [{"alpha": 0.7}],
    "elu": [{"alpha": 0.7}, {"alpha": -0.5}],
    "gelu": [{"approximate": "tanh"}],
    "hardshrink": [{"lambd": 0.3}],
    "hardtanh": [{"min_val": 0.0, "max_val": 6.0}, {"min_val": -2.0, "max_val": 0.5}],
    "leaky_relu": [{"negative_slope": 0.2}, {"negative_slope": -1.0}],
    "softplus": [{"beta": 2.0}, {"threshold": 3.0}, {"beta": 0.5, "threshold": 1.0}],
    "softshrink": [{"lambd": 0.3}],
    "threshold": [{"threshold": 0.2, "value": 7.0}],
}
CASES = [(kind, parameters) for kind in KINDS for parameters in ({}, *PARAMETERS.get(kind, []))]

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "parameters"), CASES)
def test_values_are_pytorchs_bit_for_bit(kind, parameters, dtype):
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-40, 6, 3, -3, 1, -1, 0.5, -0.5, 0.2, 25], dtype=dtype)
    z = torch.cat([torch.randn(4099, generator=torch.Generator().manual_seed(0)).to(dtype) * 4, special])
    given = {"threshold": 0.0, "value": 0.0, **parameters} if kind == "threshold" else parameters
    ours, theirs = equal_forward(kind, parameters).value(z), getattr(F, kind)(z, **given)
    numbers = ~theirs.isnan()  # what exactly a NaN looks like is nobody's promise
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours[numbers].view(BITS[dtype.itemsize]), theirs[numbers].view(BITS[dtype.itemsize]))
    assert equal_forward(kind, parameters).value(torch.tensor([torch.nan], dtype=dtype)).isnan().all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_defaults_are_those_of_pytorchs_module(kind):
    cls = next(cls for cls in vars(nn).values() if isinstance(cls, type) and kind_of_class(cls) == kind)
    module = cls(0.0, 0.0) if cls is nn.Threshold else cls()
    assert {name: getattr(module, name) for name in KINDS[kind]} == dict(KINDS[kind])


def test_our_own_forwards_are_used_where_there_are_any():
    assert str(equal_forward("relu", {})) == "relu"
    assert str(equal_forward("hardtanh", {"min_val": 0, "max_val": 6})) == "relu6"
    assert str(equal_forward("leaky_relu", {"negative_slope": 0.2})) == "leaky_relu(0.2)"
    assert isinstance(equal_forward("gelu", {"approximate": "tanh"}), Elementwise)


@pytest.mark.parametrize(("kind", "parameters"), CASES)
def test_forwards_are_values(kind, parameters):
    forward = equal_forward(kind, parameters)
    again = pickle.loads(pickle.dumps(forward))
    assert again == forward == equal_forward(kind, dict(parameters))
    assert hash(again) == hash(forward)


def test_every_spelling_of_a_function_is_known():
    spellings = [getattr(room, name) for room in (F, torch, torch.Tensor) for name in NAMES if hasattr(room, name)]
    assert len(spellings) > 40
    assert all(function_of(spelling) for spelling in spellings)
    assert function_of(torch.special.expit) == Function("sigmoid")
    assert function_of(F.elu_) == Function("elu", inplace=True)
    for other in (torch.exp, torch.softmax, F.prelu, [], nn.ReLU(), None):
        assert function_of(other) is None


def test_a_subclass_with_a_forward_of_its_own_is_something_else():
    class Louder(nn.ReLU):
        def forward(self, z):
            return 2 * super().forward(z)

    class Renamed(nn.ReLU):
        pass

    assert (kind_of_class(Louder), kind_of_class(Renamed), kind_of_class(nn.ReLU6)) == (None, "relu", "relu6")
