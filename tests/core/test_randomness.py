"""Guarantee 4: random slopes follow from one key, drawn in the forward pass."""

import threading

import pytest
import torch
from scipy import stats
from torch import fx

from tieless import Activation, untie
from tieless.errors import RuleTypeError
from tieless.kernels.reference import uniform

JAMS = [
    "full_jam",
    "positive_jam",
    'positive_jam(gate="feedback")',
    "rectangular_jam",
    'full_jam(replace="magnitude")',
    "noise(1)",
    "drop(0.5)",
    "flip(0.5)",
    "rotate(45)",
]


def _z(requires_grad=True):
    return torch.linspace(-4, 4, 1000).view(10, 100).requires_grad_(requires_grad)


def _gradient(rule, seed=0, **options):
    z = _z()
    torch.manual_seed(seed)
    untie(z, "linear", rule, **options).backward(torch.linspace(-1, 2, 1000).view(10, 100))
    return z.grad


@pytest.mark.parametrize("spec", JAMS)
def test_one_seed_one_gradient(spec):
    assert torch.equal(_gradient(spec), _gradient(spec))
    assert not torch.equal(_gradient(spec), _gradient(spec, seed=1))


@pytest.mark.parametrize("spec", JAMS)
def test_two_backwards_through_one_graph_agree(spec):
    z = _z()
    y = untie(z, "relu", spec)
    (one,) = torch.autograd.grad(y.sum(), z, retain_graph=True)
    torch.rand(3)
    (other,) = torch.autograd.grad(y.sum(), z)
    assert torch.equal(one, other)


@pytest.mark.parametrize("spec", JAMS)
def test_the_backward_pass_draws_nothing(spec):
    y = untie(_z(), "relu", spec)
    before = torch.get_rng_state()
    y.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spec", [*JAMS, "drop(0.5) >> full_jam >> noise(1)"])
def test_the_forward_pass_draws_one_key(spec):
    torch.manual_seed(3)
    torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    expected = torch.get_rng_state()
    torch.manual_seed(3)
    untie(_z(), "relu", spec)
    assert torch.equal(torch.get_rng_state(), expected)


def test_halves_without_randomness_draw_nothing(forward, rule):
    words = ("jam", "noise", "drop", "flip", "rotate", "stochastic", "bernoulli")
    if any(word in forward + rule for word in words):
        return
    before = torch.get_rng_state()
    untie(_z(), forward, rule).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_key_is_drawn_without_gradients_too():
    """The first pass of a reentrant checkpoint is such a pass; what follows it must see the same generator."""
    states = []
    for enabled in (True, False):
        torch.manual_seed(0)
        with torch.set_grad_enabled(enabled):
            untie(_z(), "relu", "full_jam")
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_generator_given_is_the_one_used():
    before = torch.get_rng_state()
    own = [torch.Generator().manual_seed(5) for _ in range(2)]
    z = [_z(), _z()]
    for leaf, generator in zip(z, own, strict=True):
        untie(leaf, "relu", "full_jam", generator=generator).sum().backward()
    assert torch.equal(z[0].grad, z[1].grad)
    assert torch.equal(torch.get_rng_state(), before)
    untie(z[0], "relu", "full_jam", generator=own[0]).sum().backward()  # the generator moved on
    assert not torch.equal(z[0].grad, 2 * z[1].grad)


def test_the_slopes_are_philox_of_key_and_index():
    z = torch.zeros(1000, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    key = torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=torch.Generator().manual_seed(0))
    untie(z, "linear", "full_jam", generator=generator).sum().backward()
    assert torch.equal(z.grad, uniform(z.detach(), key, 0, 0))


def test_rules_of_a_chain_draw_independently():
    z = torch.zeros(1 << 14, requires_grad=True)
    untie(z, "linear", "full_jam >> full_jam").sum().backward()
    # The product of two independent uniforms: P(UV < x) = x (1 - log x).
    assert stats.kstest(z.grad.numpy(), lambda x: x * (1 - torch.tensor(x).log().numpy())).pvalue > 1e-3


def test_layers_draw_independently():
    act = Activation("linear", "full_jam")
    z = [torch.zeros(1 << 14, requires_grad=True) for _ in range(2)]
    for leaf in z:
        act(leaf).sum().backward()
    assert abs(stats.pearsonr(z[0].grad.numpy(), z[1].grad.numpy()).statistic) < 0.04


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_one_key_gives_the_same_slopes_in_every_dtype(dtype):
    gradients = []
    for kind in (torch.float32, dtype):
        z = torch.zeros(4096, dtype=kind, requires_grad=True)
        torch.manual_seed(0)
        untie(z, "linear", "full_jam").backward(torch.ones(4096, dtype=kind))
        gradients.append(z.grad)
    assert torch.equal(gradients[0].to(dtype), gradients[1])


def test_half_types_lose_no_slope_to_rounding():
    """A slope rounded to bfloat16 before the product would be 0 for one in 500; rounded after it, hardly ever."""
    z = torch.zeros(1 << 16, dtype=torch.bfloat16, requires_grad=True)
    untie(z, "linear", "full_jam").sum().backward()
    assert (z.grad == 0).sum() <= 1


@pytest.mark.parametrize("spec", JAMS)
def test_a_rule_holds_in_any_thread_and_with_any_number_of_them(spec):
    expected = _gradient(spec, generator=torch.Generator().manual_seed(9))
    seen = []

    def run():
        z = _z()
        y = untie(z, "linear", spec, generator=torch.Generator().manual_seed(9))
        y.backward(torch.linspace(-1, 2, 1000).view(10, 100))
        seen.append(z.grad)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        run()
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 5
    assert all(torch.equal(gradient, expected) for gradient in seen)


def _last_first(graph_module, inputs):
    """A compiler that computes in another order, as far as the data allow: the last of independent nodes first."""
    moved, copies = fx.Graph(), {}

    def place(node):
        if node not in copies:
            for needed in reversed(node.all_input_nodes):
                place(needed)
            copies[node] = moved.node_copy(node, copies.__getitem__)

    for node in graph_module.graph.nodes:
        if node.op in {"placeholder", "output"}:
            place(node)
    return torch._functorch.aot_autograd.make_boxed_func(fx.GraphModule(graph_module, moved).forward)


@pytest.mark.parametrize("values", ["linear", "bernoulli"])
def test_a_compiler_that_reorders_a_graph_reorders_no_draws(values):
    from torch._dynamo.backends.common import aot_autograd  # loads the compiler

    def branches(z):
        return torch.stack([untie(z, values, "full_jam") for _ in range(5)])

    torch._dynamo.reset()
    reordered = torch.compile(branches, fullgraph=True, backend=aot_autograd(fw_compiler=_last_first))
    results = []
    for function in (branches, reordered):
        z = _z()
        torch.manual_seed(0)
        y = function(z)
        y.backward(torch.linspace(-1, 2, y.numel()).view(y.shape))
        results.append((y.detach(), z.grad, torch.rand(1)))
    for eager, compiled in zip(*results, strict=True):
        assert torch.equal(eager, compiled)


def test_resuming_from_the_saved_generator_resumes_the_slopes():
    act = Activation("relu", "full_jam")

    def steps(count):
        gradients = []
        for _ in range(count):
            z = _z()
            act(z).sum().backward()
            gradients.append(z.grad)
        return gradients

    torch.manual_seed(0)
    whole = steps(4)
    torch.manual_seed(0)
    steps(2)
    state = torch.get_rng_state()
    torch.rand(100)
    torch.set_rng_state(state)
    for one, other in zip(steps(2), whole[2:], strict=True):
        assert torch.equal(one, other)


def test_a_generator_elsewhere_is_refused():
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(RuleTypeError, match="CPU"):
        untie(_z(), "relu", "full_jam", generator=Elsewhere())
