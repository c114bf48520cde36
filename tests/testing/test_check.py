"""check_rule against rules that are wrong on purpose: one property each, named in one line."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

import tieless as tl
from tieless.errors import RuleCheckError, TielessError
from tieless.rules import Rule
from tieless.slopes import OwnSlope
from tieless.testing import Check, check_rule

# Torch's own, from the compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


class Passing(Rule):
    """Feedback as it is, of one's own making."""

    __slots__ = ()

    def feedback(self, grad_output, kept, random):
        return self.send(grad_output)

    def needs(self, forward):
        return "input"


class Sloping(Rule):
    __slots__ = ()

    def slope(self, forward):
        return OwnSlope(self, "input")


def rule(cls):
    """A rule with a name, gone after the test."""
    return tl.register_rule(dataclass(frozen=True, slots=True)(cls))


def spec():
    class Forgetful(Passing):
        width: float = field(default=1.0, metadata={"option": True})

        def send(self, grad_output):
            return grad_output

        def __str__(self):
            return "forgetful"

    return rule(Forgetful)(2.0)


def pickling():
    class Unpicklable(Passing):
        def send(self, grad_output):
            return grad_output

        def __reduce__(self):
            raise TypeError("no copies")

    return rule(Unpicklable)()


def purity():
    @tl.register_rule
    def squaring(z):
        return z.mul_(z)

    return squaring()


def dtype():
    class Doubling(Passing):
        def send(self, grad_output):
            return grad_output.double()

    return rule(Doubling)()


def precision():
    @tl.register_rule
    def narrow(z):
        return torch.exp(-(z.float() ** 2)).to(z.dtype)

    return narrow()


def layout():
    class InMemoryOrder(Rule):
        def needs(self, forward):
            return "input"

        def feedback(self, grad_output, kept, random):
            kept = kept.as_strided((kept.numel(),), (1,)) if kept.is_contiguous() else kept.reshape(-1).flip(0)
            return grad_output * kept.view(grad_output.shape)

    return rule(InMemoryOrder)()


def edges():
    @tl.register_rule
    def overflowing(z):
        grown = torch.exp(-25 * z)
        return 25 * grown / (1 + grown) ** 2

    return overflowing()


def nan():
    @tl.register_rule
    def centred(z):
        return z - z.mean()

    return centred()


def determinism():
    class Drawing(Passing):
        def send(self, grad_output):
            return grad_output * torch.rand_like(grad_output)

    return rule(Drawing)()


def elementwise():
    @tl.register_rule
    def ranked(z):
        return (z > z.nanmedian()).to(z.dtype)

    return ranked()


def primitive():
    @tl.register_rule(primitive=lambda z, width: torch.atan(z / width))
    def lopsided(z, width: float = 1.0):
        return 1 / (1 + (z / width) ** 2)

    return lopsided(0.5)


def checkpoint():
    class Counting(Sloping):
        calls: ClassVar[list[int]] = []

        def slope_at(self, value):
            return torch.ones_like(value)

    counting = rule(Counting)
    forwards = []

    @tl.register_forward
    def tiring(z):
        forwards.append(1)
        return z * (len(forwards) % 2)

    class OfOutput(Rule):
        def slope(self, forward):
            return OwnSlope(self, "output")

        def slope_at(self, value):
            return value

    assert counting
    return rule(OfOutput)(), tiring()


def transforms():
    class Asking(Sloping):
        def slope_at(self, value):
            return torch.ones_like(value) if value.sum() > -1e9 else value

    return rule(Asking)()


BAD = [spec, pickling, purity, dtype, precision, layout, edges, nan, determinism, elementwise, primitive, transforms]


@pytest.mark.parametrize("make", BAD)
def test_a_rule_that_lacks_a_property_is_told_so(make):
    with pytest.raises(RuleCheckError) as caught:
        check_rule(make())
    error = caught.value
    assert isinstance(error, AssertionError)
    assert isinstance(error, TielessError)
    names = [check.name for check in error.report.failures]
    assert make.__name__ in names
    head, *lines = str(error).splitlines()
    assert head.startswith(f"{error.report.rule} lacks {len(names)} of ")
    assert [line.strip().partition(":")[0] for line in lines] == names


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (purity, "purity: it changes z in place"),
        (dtype, "dtype: torch.float16 of shape (4, 24) comes back as torch.float64 of shape (4, 24)"),
        (precision, "precision: in float64 nothing is sent that float32 could not hold"),
        (edges, "edges: NaN is sent at z=-100 in torch.float64"),
        (determinism, "determinism: the backward pass draws from torch's generator"),
        (elementwise, "elementwise: what an element is sent depends on other elements"),
        (primitive, "primitive: at z="),
        (pickling, "pickling: TypeError: no copies"),
    ],
)
def test_what_it_says(make, says):
    with pytest.raises(RuleCheckError) as caught:
        check_rule(make())
    assert says in str(caught.value)


def test_a_checkpoint_that_gives_another_gradient():
    with pytest.raises(RuleCheckError) as caught:
        check_rule(*checkpoint())
    assert "checkpoint" in {check.name for check in caught.value.report.failures}


def test_a_rule_that_a_compiler_cannot_trace():
    class Looking(Sloping):
        def slope_at(self, value):
            return torch.ones_like(value) * (2 if value.max().item() > 0 else 1)

    with pytest.raises(RuleCheckError) as caught:
        check_rule(rule(Looking)(), elementwise=False)
    assert {"compile", "transforms"} & {check.name for check in caught.value.report.failures}


@pytest.mark.parametrize("spec", ["atan(0.3)", "rectangular", "full_jam", "tied", "noise(0.1)", "few_bit(2)", "s2nn"])
def test_built_in_rules_have_every_property(spec):
    before = torch.get_rng_state()
    report = check_rule(spec)
    assert report.failures == ()
    assert torch.equal(torch.get_rng_state(), before)
    assert str(report).splitlines()[0].startswith(str(tl.rule(spec)))
    assert "  compile: ok" in str(report)


def test_a_rule_of_a_whole_tensor_says_that_it_is_no_elementwise_one():
    assert check_rule("magnitude_aware", elementwise=False).failures == ()
    with pytest.raises(RuleCheckError, match="elementwise"):
        check_rule("magnitude_aware")


def test_records():
    assert str(Check("dtype")) == "dtype: ok"
    assert str(Check("dtype", skipped="no time")) == "dtype: not checked: no time"
    assert str(Check("dtype", "wrong")) == "dtype: wrong"
