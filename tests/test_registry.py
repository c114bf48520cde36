"""What each value of a registry is, whatever its kind."""

import gc
import weakref

import pytest
import torch

import tieless as tl
from tieless.feedback import feedback
from tieless.forwards import forward
from tieless.rules.catalogue import example

WITH_PARAMETERS = {"signed_staircase": "signed_staircase(3)", "staircase": "staircase(4)"}


def _written_rule() -> tl.Rule:
    @tl.register_rule
    def written(z, width: float = 1.0):
        return (z.abs() < width).to(z.dtype)

    return written(2)


def _written_forward() -> tl.Forward:
    @tl.register_forward(flat=True)
    def written_steps(z, height: float = 1.0):
        return height * (z > 0).to(z.dtype)

    return written_steps(2)


MAKE = {
    **{f"rule {name}": lambda cls=cls: example(cls) for name, cls in tl.rules().items()},
    **{f"forward {name}": lambda name=name: forward(WITH_PARAMETERS.get(name, name)) for name in tl.forwards()},
    **{f"feedback {name}": lambda name=name: feedback(name) for name in tl.feedbacks()},
    "chain": lambda: tl.rule("full_jam >> gated"),
    "callable": lambda: forward(torch.tanh),
    "written rule": _written_rule,
    "written forward": _written_forward,
    "anneal": lambda: tl.anneal("atan", {"width": 2}, {"width": 1}, 10),
    "alternate": lambda: tl.alternate("tied", "full_jam"),
}


@pytest.fixture(params=MAKE)
def value(request):
    """One value of each class that there is."""
    return MAKE[request.param]()


def test_values_are_referred_to_weakly(value):
    assert weakref.ref(value)() is value


def test_a_weak_reference_keeps_no_value_alive():
    reference = weakref.ref(tl.ATan(0.123))
    gc.collect()
    assert reference() is None
