"""Callables as forwards: what they may do, what is kept of them, and what compiled code knows of them."""

import gc
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from tests.core.test_transforms import _compiled
from tieless import Activation, Constant, FewBit, register_forward, register_rule, untie
from tieless.errors import RuleTypeError, UntrainableError
from tieless.forwards import Forward
from tieless.rules import Rule
from tieless.testing import temporary_names

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

Z = torch.tensor([-0.5, 0.25, 1.5])


def _gradient(function, *arguments):
    leaf = Z.clone().requires_grad_()
    function(leaf, *arguments).sum().backward()
    return leaf.grad.tolist()


# In place.


def _writes_later(z):
    return z.add_(1)


@pytest.mark.parametrize("function", [torch.relu_, _writes_later, partial(nn.functional.elu, inplace=True)])
@pytest.mark.parametrize("backward", ["rectangular(-1, 1)", "atan", "constant", "tied >> noise(0.1)"])
def test_a_function_that_writes_to_z_is_refused(function, backward):
    with pytest.raises(RuleTypeError, match="writes to z, which the rule needs as it was"):
        untie(Z.clone().requires_grad_() * 1, function, backward)


@pytest.mark.parametrize("module", [nn.ReLU(inplace=True), nn.Sequential(nn.Hardtanh(), nn.SiLU(inplace=True))])
def test_a_module_that_writes_to_z_is_refused_before_it_does(module):
    with pytest.raises(RuleTypeError, match="Give it inplace=False"):
        Activation(module, "constant")


def test_a_function_may_return_z_itself():
    z = Z.clone().requires_grad_()
    y = untie(z * 1, lambda z: z, "constant(2)")
    y.mul_(3).sum().backward()  # in place to y, not to z
    assert z.grad.tolist() == [6, 6, 6]


def _relu_by_data(z):
    return z.data.relu_()


def _vmapped(function):
    return torch.func.vmap(function)


def _inferred(function):
    return torch.inference_mode()(function)


with temporary_names():

    @register_forward
    def writes_to_z(z):
        return z.relu_()


@pytest.mark.parametrize("backward", ["constant", "atan", "tied"])
@pytest.mark.parametrize("around", [_vmapped, _inferred, torch.no_grad(), lambda function: function], ids=range(4))
@pytest.mark.parametrize("function", [torch.relu_, lambda z: z.relu_(), _relu_by_data, writes_to_z()], ids=range(4))
def test_z_is_as_it_was_wherever_a_function_writes(function, around, backward):
    z = Z.clone()
    with suppress(RuleTypeError, RuntimeError):  # PyTorch refuses `.data` under vmap
        assert around(lambda z: untie(z, function, backward))(z).tolist() == [0, 0.25, 1.5]
    assert torch.equal(z, Z)


# What they give is y's own.


with temporary_names():

    @register_forward
    def as_it_is(z):
        return z


@pytest.mark.parametrize("backward", ["full_jam", "triangular", "tied"])
@pytest.mark.parametrize(
    "function",
    [lambda z: z, lambda z: z.view_as(z), lambda z: z.reshape(1, 3).reshape(3), lambda z: z[...], as_it_is()],
    ids=["same", "view", "reshape", "index", "registered"],
)
def test_a_view_of_z_is_no_way_to_z(function, backward):
    for z in (Z.clone(), Z.clone().requires_grad_()):
        expected = _gradient(lambda z: untie(z, "linear", backward, generator=_seeded()) * 5)
        y = untie(z, function, backward, generator=_seeded())
        y.mul_(5)
        assert torch.equal(z, Z)
        if z.requires_grad:
            y.sum().backward()
            assert z.grad.tolist() == expected


def _seeded():
    return torch.Generator().manual_seed(0)


class _Level(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("level", torch.tensor([0.0, 1.0, 2.0]))

    def forward(self, z):
        return self.level


with temporary_names():

    @register_forward
    def level_of_nobody(z):
        return _LEVEL.level.view(3)


_LEVEL = _Level()


@pytest.mark.parametrize("act", [Activation(_LEVEL, "constant"), Activation(level_of_nobody(), "constant")], ids=str)
def test_a_tensor_that_the_function_keeps_stays_as_it_is(act):
    for _ in range(2):
        assert _gradient(act) == [1, 1, 1]
    with torch.no_grad():
        act(Z.clone().requires_grad_()).mul_(3)
        untie(Z, _LEVEL, "tied").mul_(3)
    assert not _LEVEL.level.requires_grad
    assert _LEVEL.level.tolist() == [0, 1, 2]


# Nothing that learns goes into them.


def _dual(function, p):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(p, p))).tangent


LEARNERS = {
    "backward": lambda f, p: f(p.requires_grad_()),
    "no_grad": lambda f, p: torch.no_grad()(f)(p.requires_grad_()),
    "grad": lambda f, p: torch.func.grad(f)(p),
    "vjp": torch.func.vjp,
    "jvp": lambda f, p: torch.func.jvp(f, (p,), (p,)),
    "jacfwd": lambda f, p: torch.func.jacfwd(f)(p),
    "jacrev": lambda f, p: torch.func.jacrev(f)(p),
    "hessian": lambda f, p: torch.func.hessian(f)(p),
    "forward_ad": _dual,
    "vmap": lambda f, p: torch.func.grad(lambda p: torch.func.vmap(lambda q: f(q * p))(p.new_ones(2, 3)).sum())(p),
    "around vmap": lambda f, p: torch.func.vmap(lambda _: f(p))(p.requires_grad_().new_ones(2)),
    "jvp around grad": lambda f, p: torch.func.jvp(lambda p: torch.func.grad(lambda q: f(p) * q)(p.sum()), (p,), (p,)),
}


@pytest.mark.parametrize("takes", LEARNERS)
@pytest.mark.parametrize("backward", ["constant", "triangular"])
def test_what_learns_inside_is_refused_at_every_level(takes, backward):
    def by_callable(p):
        return untie(Z, lambda z: z * p, backward, generator=_seeded()).sum()

    def registered(p):
        with temporary_names():

            @register_forward
            def scaled(z):
                return z * p

            return untie(Z, "scaled", backward, generator=_seeded()).sum()

    for function in (by_callable, registered):
        with pytest.raises(RuleTypeError, match="uses tensors that require gradients"):
            LEARNERS[takes](function, torch.ones(3))


COMPILED = {
    "backward": lambda f, p: f(p, Z),
    "grad": lambda f, p: torch.func.grad(f)(p, Z),
    "jvp": lambda f, p: torch.func.jvp(lambda p: f(p, Z), (p,), (p,)),
    "around vmap": lambda f, p: torch.func.vmap(lambda z: f(p, z))(Z.expand(2, 3)),
}


@pytest.mark.parametrize("takes", COMPILED)
def test_what_learns_inside_is_refused_when_compiled(takes):
    def network(p, z):
        return untie(z, lambda z: z * p, "constant").sum()

    # Under Dynamo's own name where it runs the graph to see its shapes, but with these words.
    with pytest.raises(Exception, match="uses tensors that require gradients"):
        _compiled(partial(COMPILED[takes], network))(torch.ones(3, requires_grad=True))


def test_a_class_of_forwards_is_held_to_the_same():
    with temporary_names():

        @register_forward
        @dataclass(frozen=True, slots=True)
        class Scaled(Forward):
            def value(self, z):
                return z * width

        width = torch.ones(3, requires_grad=True)
        with pytest.raises(RuleTypeError, match="uses tensors that require gradients"):
            untie(Z, Scaled(), "constant")
        width = torch.ones(3)
        assert _gradient(lambda z: untie(z, "scaled", "constant(2)")) == [2, 2, 2]


# Flat ones.


@pytest.mark.parametrize(
    "function", [torch.sign, torch.round, torch.Tensor.floor, partial(torch.round, decimals=1)], ids=range(4)
)
@pytest.mark.parametrize("backward", ["tied", "tied >> noise(0.1)", "few_bit(2)"])
def test_pytorchs_flat_functions_are_refused_as_ours_are(function, backward):
    with pytest.raises(UntrainableError, match=r"is flat .* Give it"):
        Activation(function, backward)


@pytest.mark.parametrize("backward", ["tied", "tied >> scale(2)", "gated"])
@pytest.mark.parametrize("function", [lambda z: (z > 0).float(), lambda z: torch.ones(3), torch.detach], ids=range(3))
def test_a_function_without_a_graph_is_not_tied(function, backward):
    with pytest.raises(UntrainableError, match="is flat"):
        _gradient(lambda z: untie(z, function, backward))
    with torch.no_grad():
        assert untie(Z.clone().requires_grad_(), function, "tied").shape == (3,)


# What they are given, and what they give.


def test_quantisers_that_reduce_are_asked_with_z_itself():
    """A probe with another tensor would fail: no element has no largest one."""

    def quantised(z):
        unit = z.abs().max() / 127
        return (z / unit).round() * unit

    def by_rank(z):
        return (z > z.kthvalue(2).values).to(z.dtype)

    assert _gradient(lambda z: untie(z, quantised, "rectangular(-1, 1)")) == [1, 1, 0]
    assert _gradient(lambda z: untie(z, by_rank, "constant(3)")) == [3, 3, 3]


@pytest.mark.parametrize("given", [None, 3.0, torch.zeros(2), torch.zeros(3, device="meta")], ids=str)
def test_what_is_not_elementwise_is_refused(given):
    for rule in ("constant", "tied"):
        with pytest.raises(RuleTypeError, match="is not elementwise"):
            untie(Z, lambda z: given, rule)


def test_a_function_that_learns_is_refused_also_when_compiled():
    width = torch.ones(3, requires_grad=True)
    with pytest.raises(RuleTypeError, match="Detach"):
        untie(Z, lambda z: z * width, "constant")


@dataclass
class _Unhashable:
    bound: float

    def __call__(self, z):
        return z.clamp(-self.bound, self.bound)


def test_a_callable_without_a_hash_is_a_forward():
    for rule in ("constant(2)", "gated"):
        assert untie(Z, _Unhashable(1.0), rule).tolist() == [-0.5, 0.25, 1.0]


# What is kept of them.


def _scaled(factor, z):
    return z.relu() * factor


@pytest.mark.parametrize("backward", ["rectangular", "full_jam", "tied", "tied >> noise(0.1)", "gated"])
def test_no_callable_is_kept_alive(backward):
    """The usual straight-through form has a new closure around a tensor in each step."""
    held = torch.tensor(2.0)
    function = partial(_scaled, held)
    untie(Z.clone().requires_grad_(), function, backward).sum().backward()
    alive = weakref.ref(held)
    del held, function
    gc.collect()
    assert alive() is None


class _Hot(nn.Module):
    temperature = 1.0

    def forward(self, z):
        return torch.tanh(z * self.temperature)


def test_what_follows_from_a_callable_is_found_anew():
    hot = _Hot()
    before = untie(Z, hot, "few_bit(2)"), _gradient(lambda z: untie(z, hot, "few_bit(2)"))
    hot.temperature = 5.0
    after = _gradient(lambda z: untie(z, hot, "few_bit(2)"))
    assert after != before[1]
    assert after == _gradient(lambda z: untie(z, lambda z: torch.tanh(z * 5), FewBit(2)))


# What compiled code knows of them.


class _Noisy(nn.Module):
    def forward(self, z):
        return z + 1 if self.training else z


@pytest.mark.parametrize("backward", ["constant(2)", "rectangular(-1, 1)", "atan", "tied", "tied >> scale(2)", "gated"])
def test_compiled_code_follows_the_attributes_of_a_callable(backward):
    hot = _Hot()

    def function(z):
        return untie(z, hot, backward)

    compiled = _compiled(function)
    for temperature in (1.0, 5.0, 0.5, 5.0):
        hot.temperature = temperature
        assert torch.equal(compiled(Z), function(Z))
        assert _gradient(compiled) == _gradient(function)


@pytest.mark.parametrize("backward", ["rectangular", "tied >> scale(2)", "gated"])
def test_compiled_code_keeps_no_callable_alive(backward):
    hot = _Hot()
    compiled = _compiled(Activation(hot, backward))
    _gradient(compiled)
    alive = weakref.ref(hot)
    del hot, compiled
    torch._dynamo.reset()
    gc.collect()
    assert alive() is None


def test_compiled_code_follows_the_training_flag_of_a_callable():
    noisy = _Noisy()
    act = Activation(noisy, "constant")
    compiled = _compiled(act)
    assert torch.equal(compiled(Z), Z + 1)
    noisy.eval()
    assert torch.equal(compiled(Z), Z)


def test_compiled_code_has_the_straight_through_form():
    def step(z, scale):
        hard = (z * scale).sign()
        return untie(z, lambda _: hard.detach(), "rectangular(-1, 1)")

    compiled = _compiled(step)
    for scale in (torch.tensor(1.0), torch.tensor(-1.0)):
        assert torch.equal(compiled(Z, scale), step(Z, scale))
        assert _gradient(compiled, scale) == [1, 1, 0]


class _Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(2.0))

    def forward(self, z):
        return torch.tanh(z * self.factor)


with temporary_names():

    @register_forward
    def scaled_by_a_tensor(z):
        return z * _SCALED.factor


with temporary_names():

    @register_rule
    def slope_by_a_tensor(z):
        return z * _SCALED.factor


_SCALED = _Scaled()


def test_compiled_code_is_eager_or_says_that_a_function_holds_a_tensor():
    for backward in ("full_jam", "tied", "triangular"):
        act = Activation(_SCALED, backward)
        torch.manual_seed(0)
        expected = _gradient(act)
        torch.manual_seed(0)
        assert _gradient(_compiled(act)) == expected
    for forward, backward in (
        (_SCALED, "few_bit(3)"),
        (_SCALED, "tied >> scale(2)"),
        (scaled_by_a_tensor(), "constant"),
        ("tanh", slope_by_a_tensor()),
    ):
        # Under Dynamo's own name and that of the backend, but with these words.
        with pytest.raises(Exception, match=r"TransformError.*torch.compiler.disable\(activation\)"):
            _gradient(_compiled(Activation(forward, backward)))
        assert _gradient(torch.compiler.disable(Activation(forward, backward)))


def test_compiled_code_runs_the_rule_it_is_given():
    """Objects that are gone, and others at their place in memory."""
    compiled = _compiled(lambda z, rule: untie(z, "relu", rule))
    assert [_gradient(compiled, Constant(value))[0] for value in (1, 2, 3, 1, 2, 3)] == [1, 2, 3, 1, 2, 3]


def test_compiled_code_runs_the_rule_of_an_attribute_as_it_is_now():
    class Layer(nn.Module):
        def forward(self, z):
            return untie(z, "relu", self.rule)

    layer = Layer()
    compiled = _compiled(layer)
    for value in (1, 2, 3, 1, 2):
        layer.rule = Constant(value)
        assert _gradient(compiled) == [value] * 3


def test_compiled_code_follows_names_that_are_registered_anew():
    compiled = _compiled(lambda z: untie(z, "own_forward", "own_rule"))
    for factor in (2.0, 3.0):
        with temporary_names():

            def own_rule(z, factor=factor):
                return torch.full_like(z, factor)

            def own_forward(z, factor=factor):
                return z * factor

            own_rule.__annotations__["factor"] = own_forward.__annotations__["factor"] = float
            register_rule(own_rule)
            register_forward(own_forward)
            assert compiled(Z).tolist() == (Z * factor).tolist()
            assert _gradient(compiled) == [factor] * 3


@pytest.mark.parametrize("with_z", [True, False], ids=["slope", "feedback"])
def test_a_rule_that_learns_is_refused(with_z):
    weight = torch.tensor(2.0, requires_grad=True)
    with temporary_names():

        @register_rule
        def learning_slope(z):
            return weight * torch.ones_like(z)

    @dataclass(frozen=True, slots=True)
    class Learning(Rule):
        family = "transform"

        def feedback(self, grad_output, kept, random):
            return weight * grad_output

    z = Z.clone().requires_grad_()
    y = untie(z, "relu", learning_slope() if with_z else Learning())
    with pytest.raises(RuleTypeError, match="uses tensors that require gradients, and would send them none"):
        y.sum().backward()
