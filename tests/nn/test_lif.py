"""The spiking cell: potentials by hand, gradients by calculus on a twin, and the cells of snnTorch and Norse."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from tests.nn.peers import load
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.kernels import membranes, numba_cpu
from tieless.kernels.membranes import Membrane
from tieless.nn import LIF, Activation

STEPS = 12
RESETS = ("subtract", "zero", "none")


def _current(seed=0, *shape, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(STEPS, *(shape or (5, 3)), generator=generator, dtype=torch.float64) + 0.4


@given(
    current=st.lists(st.floats(-3, 3), min_size=1, max_size=10),
    beta=st.floats(0, 1),
    threshold=st.floats(0.1, 2),
    reset=st.sampled_from(RESETS),
    delay=st.booleans(),
)
def test_potentials_and_spikes_are_those_of_a_loop_of_numbers(current, beta, threshold, reset, delay):
    cell = LIF(beta, threshold=threshold, reset=reset, delay_reset=delay)
    v, expected, potentials = 0.0, [], []
    for x in current:
        if delay:
            fired = v > threshold
            v = beta * v
            v = v - threshold * fired if reset == "subtract" else v * (1 - fired) if reset == "zero" else v
            v += x
            expected.append(float(v > threshold))
        else:
            v = beta * v + x
            fired = v > threshold
            expected.append(float(fired))
            v = v - threshold * fired if reset == "subtract" else v * (1 - fired) if reset == "zero" else v
        potentials.append(v)
    state, spikes, seen = None, [], []
    for x in current:
        fired, state = cell(torch.tensor([x], dtype=torch.float64), state)
        spikes.append(fired.item())
        seen.append(state.item())
    assert spikes == expected
    assert seen == potentials


def _surrogate(z):
    """A step whose derivative is that of ``atan``: calculus does the rest."""
    soft = torch.atan(math.pi * z) / math.pi
    return soft + ((z > 0).to(z.dtype) - soft).detach()


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("delay", [True, False])
def test_gradients_through_time_are_those_of_calculus_on_a_smooth_twin(reset, detach, delay):
    current = _current().requires_grad_()
    weights = _current(1)
    cell = LIF(0.8, reset=reset, detach_reset=detach, delay_reset=delay)
    spikes, last = cell.over_time(current)
    ours = torch.autograd.grad((spikes * weights).sum() + last.sum(), current)[0]

    def fire(v):
        return _surrogate(v - 1)

    def without(v, kept, spikes):
        spikes = spikes.detach() if detach else spikes
        return {"subtract": kept - spikes, "zero": kept * (1 - spikes), "none": kept}[reset]

    v, total = torch.zeros_like(current[0]), 0
    for x, weight in zip(current, weights, strict=True):
        v = without(v, 0.8 * v, fire(v)) + x if delay else 0.8 * v + x
        total = total + (fire(v) * weight).sum()
        v = v if delay else without(v, v, fire(v))
    assert 0 < spikes.mean() < 1
    torch.testing.assert_close(ours, torch.autograd.grad(total + v.sum(), current)[0])


def test_a_detached_reset_and_another_differ():
    current = _current().requires_grad_()
    gradients = [
        torch.autograd.grad(LIF(0.8, detach_reset=detach).over_time(current)[0].sum(), current)[0]
        for detach in (True, False)
    ]
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("delay", [True, False])
def test_it_is_the_cell_of_snntorch(reset, delay):
    """Spikes, potentials and gradients. Its reset without delay is another where a reset neuron is still above threshold."""
    leaky = load("snntorch._neurons.leaky", "snntorch")
    if leaky is None:
        pytest.skip("snntorch is not in build/peers")
    theirs = leaky.Leaky(beta=0.7, reset_mechanism=reset, reset_delay=delay, spike_grad=_surrogate)
    # Below 2, one reset leads below the threshold.
    x = _current(2).clamp(max=1.2).float().requires_grad_()
    potential, spikes = torch.zeros(5, 3), []
    for step in x:
        fired, potential = theirs(step, potential)
        spikes.append(fired)
    ours, state = LIF(0.7, reset=reset, delay_reset=delay).over_time(x)
    assert 0 < ours.mean() < 1
    assert torch.equal(ours, torch.stack(spikes))
    torch.testing.assert_close(state, potential)
    if delay or reset == "none":
        weights = torch.randn(ours.shape)
        expected = torch.autograd.grad((torch.stack(spikes) * weights).sum(), x)[0]
        torch.testing.assert_close(torch.autograd.grad((ours * weights).sum(), x)[0], expected)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_it_is_the_box_of_norse(reset):
    box = load("norse.torch.functional.lif_box", "norse", "norse.torch", "norse.torch.functional")
    if box is None:
        pytest.skip("norse is not in build/peers")
    ways = load("norse.torch.functional.reset", "norse", "norse.torch", "norse.torch.functional")
    how = ways.reset_value if reset == "zero" else ways.reset_subtract
    parameters = box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(100.0), v_th=torch.tensor(0.5), alpha=torch.tensor(1.0), reset_method=how
    )
    x = 2 * _current(3).float()
    state, spikes = box.LIFBoxFeedForwardState(v=torch.zeros(5, 3)), []
    for step in x:
        fired, state = box.lif_box_feed_forward_step(step, state, parameters, dt=0.002)
        spikes.append(fired)
    ours, v = LIF.from_tau(0.01, dt=0.002, threshold=0.5, reset=reset).over_time(x)
    assert 0 < ours.mean() < 1
    assert torch.equal(ours, torch.stack(spikes))
    torch.testing.assert_close(v, state.v)


def test_it_is_the_node_of_spikingjelly_by_its_equations():
    """``v + (x - v) / tau``, then a hard reset to 0: its LIFNode with tau=2, in numbers worked out by hand."""
    cell = LIF.from_tau(2.0, reset="zero")
    x = torch.tensor([[1.5], [1.5], [3.0], [0.5]], dtype=torch.float64)
    state, seen = None, []
    for step in x:
        fired, state = cell(step, state)
        seen.append((fired.item(), state.item()))
    assert seen == [(0, 0.75), (1, 0), (1, 0), (0, 0.25)]


def test_a_cell_by_its_time_constant_takes_every_argument_of_one_by_beta():
    x = _current(4)
    for options in (
        {"forward": "logistic"},
        {"backward": "rectangular(-2, 2)"},
        {"detach_reset": False},
        {"delay_reset": True},
        {"threshold": 0.5, "reset": "none"},
    ):
        seen = []
        for cell in (LIF.from_tau(4.0, **options), LIF(0.75, gain=0.25, **options), LIF(0.75, gain=0.25)):
            z = (8 * x).requires_grad_()
            spikes, v = cell.over_time(z)
            (spikes.sum() + v.sum()).backward()
            seen.append(torch.stack([spikes.detach(), z.grad]))
        assert torch.equal(seen[0], seen[1])
        assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("tau", [2.0, 10.0])
def test_exact_steps_are_the_solution_of_the_equation(tau):
    """A constant input x: ``v(t) = x (1 - exp(-t / tau))``."""
    cell = LIF.from_tau(tau, dt=0.5, exact=True, reset="none")
    _, v = cell.over_time(torch.full((7, 1), 0.3, dtype=torch.float64))
    assert v.item() == pytest.approx(0.3 * (1 - math.exp(-7 * 0.5 / tau)))
    assert LIF.from_tau(tau, exact=True, scale_input=False).gain == 1


def test_a_learnt_beta_starts_where_it_was_set_and_has_the_gradient_of_finite_differences():
    cell = LIF(0.6, learn_beta=True, threshold=1e6).double()
    assert cell.beta.item() == pytest.approx(0.6)
    assert list(cell.state_dict()) == ["raw_beta"]
    current = _current(4)

    def loss(raw):
        return torch.func.functional_call(_Run(cell), {"cell.raw_beta": raw}, (current,))

    raw = cell.raw_beta.detach().requires_grad_()
    assert torch.autograd.gradcheck(loss, (raw,))
    optimiser = torch.optim.SGD(cell.parameters(), lr=1e3)
    loss(cell.raw_beta).backward()
    optimiser.step()
    assert 0 <= cell.beta.item() <= 1


class _Run(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, current):
        return self.cell.over_time(current)[1].square().sum()


def test_betas_of_their_own_for_each_neuron():
    beta = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    cell = LIF(beta)
    current = _current(5)
    together, _ = cell.over_time(current)
    apart = [LIF(b.item()).over_time(current[..., i])[0] for i, b in enumerate(beta)]
    assert torch.equal(together, torch.stack(apart, -1))
    assert list(cell.state_dict()) == ["fixed_beta"]
    assert list(LIF(0.5).state_dict()) == []
    assert LIF(beta, learn_beta=True).raw_beta.shape == (3,)


def _step_by_step(cell, x, state=None):
    """The loop that ``over_time`` stands for."""
    spikes = []
    for step in x:
        fired, state = cell(step, state)
        spikes.append(fired)
    return torch.stack(spikes), state


def _everything(run, x, state):
    """Results and gradients, with different gradients coming in at each element."""
    x = x.clone().requires_grad_()
    state = None if state is None else state.clone().requires_grad_()
    spikes, last = run(x, state)
    coming = [torch.randn(each.shape, generator=torch.Generator().manual_seed(1)).to(each) for each in (spikes, last)]
    leaves = [x] if state is None else [x, state]
    return spikes.detach(), last.detach(), *torch.autograd.grad([spikes, last], leaves, coming)


SETTINGS = [
    {"reset": reset, "delay_reset": delay, "gain": gain, "threshold": threshold}
    for reset in RESETS
    for delay in (True, False)
    for gain, threshold in ((1, 1), (0.3, -0.2))
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_all_steps_at_once_are_a_loop_of_steps_bit_for_bit(settings, dtype):
    pairs = [("heaviside", "atan"), ("staircase(3)", "rectangular(-1, 1)"), ("sign", "constant")]
    for place, (forward, rule) in enumerate(pairs):
        cell = LIF(0.83, forward=forward, backward=rule, **settings)
        for shape in ((5, 3), (130,), (2, 65, 9)):  # less than a vector, a rest beside whole ones, more than a chunk
            x = _current(place, *shape, scale=2).to(dtype)
            state = None if place == 2 else _current(7, *shape)[0].to(dtype)
            for expected, found in zip(
                _everything(partial(_step_by_step, cell), x, state), _everything(cell.over_time, x, state), strict=True
            ):
                assert torch.equal(found, expected)


def test_the_kernels_of_all_steps_are_the_reference():
    for dtype in (torch.float32, torch.float64):
        z, grad, state = (_current(seed, 130).to(dtype) for seed in range(3))
        for settings in SETTINGS:
            membrane = Membrane(
                "three_level",
                (0.0, 0.0, 0.0, 0.0, 1.0),
                0.9,
                *(settings[name] for name in ("gain", "threshold", "reset", "delay_reset")),
            )
            kept = z if membrane.reset == "zero" else None
            for kernels in (numba_cpu, membranes):
                forward = kernels.potentials(z.flip(1), state[0], membrane)
                backward = kernels.potentials_backward(grad.flip(1), grad[0], kept, state[0], membrane)
                if kernels is numba_cpu:
                    expected = (*forward, *backward)
            for found, one in zip((*forward, *backward), expected, strict=True):
                assert torch.equal(found, one)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("delay", [True, False])
def test_all_steps_at_once_have_the_second_derivative_of_the_loop(reset, delay):
    cell = LIF(0.8, reset=reset, delay_reset=delay)
    x = _current(9).requires_grad_()

    def twice(run):
        spikes, last = run(x)
        (first,) = torch.autograd.grad((spikes * _current(1)).sum() + last.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    second = twice(cell.over_time)
    assert second.any()
    torch.testing.assert_close(second, twice(partial(_step_by_step, cell)))


@pytest.mark.filterwarnings("ignore")  # of the compiler's own
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("delay", [True, False])
def test_compiled_all_steps_are_one_operator_bit_for_bit(reset, delay):
    cell, sizes = LIF(0.8, reset=reset, delay_reset=delay), set()

    def look(module, _):
        sizes.add(sum(node.op == "call_function" for node in module.graph.nodes))
        return module.forward

    for steps in (3, 30):
        x, state = torch.randn(steps, 4, 6), torch.randn(4, 6)
        torch._dynamo.reset()
        compiled = torch.compile(cell.over_time, fullgraph=True, dynamic=False, backend=aot_autograd(fw_compiler=look))
        for found, expected in zip(_everything(compiled, x, state), _everything(cell.over_time, x, state), strict=True):
            assert torch.equal(found, expected)
    assert max(sizes) < 20
    assert len(sizes) <= 2  # a forward and a backward pass, of one size each


def test_nothing_but_potentials_is_kept_for_the_backward_pass():
    x, kept = torch.randn(20, 4, 8, requires_grad=True), {}
    for backward, bytes_each in (("atan", 4), ("rectangular", 1 / 8)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (kept.update({t.data_ptr(): t.nbytes}), t)[1], lambda t: t
        ):
            LIF(0.9, backward=backward).over_time(x)
        assert sum(kept.values()) == x.numel() * bytes_each


def test_a_hook_of_every_module_sees_each_time_step():
    cell, seen = LIF(0.9), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: seen.append(type(module)))
    try:
        cell.over_time(torch.rand(3, 2, 4))
    finally:
        handle.remove()
    assert seen.count(Activation) == 3


def test_a_hook_sees_each_time_step_and_a_method_of_its_own_is_called():
    current, seen = _current(3), []
    for watch in (lambda cell: cell, lambda cell: cell.spike):
        cell = LIF(0.8)
        expected = cell.over_time(current)[0]
        watch(cell).register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
        assert torch.equal(cell.over_time(current)[0], expected)
    assert seen == [current.shape[1:]] * 2 * STEPS
    cell.spike.forward = torch.zeros_like
    assert not cell.over_time(current)[0].any()


def test_what_draws_numbers_draws_them_at_each_time_step():
    cell, current = LIF(0.8, backward="full_jam"), _current(3).requires_grad_()
    torch.manual_seed(0)
    cell.over_time(current)[0].sum().backward()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    _step_by_step(cell, current)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sequence_in_two_parts_is_the_sequence():
    cell = LIF(0.8)
    current = _current(6)
    whole, last = cell.over_time(current)
    first, state = cell.over_time(current[:5])
    second, end = cell.over_time(current[5:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(end, last)
    assert torch.equal(cell.over_time(current)[0], whole)


@pytest.mark.parametrize("learn", [True, False])
def test_compiled_checkpointed_and_mapped_it_gives_the_same(learn):
    cell = LIF(0.8, learn_beta=learn, reset="zero", detach_reset=False).double()
    current = _current(7)

    def loss(x):
        spikes, state = cell.over_time(x)
        return (spikes * x).sum() + state.square().sum()

    def gradient(function):
        x = current.clone().requires_grad_()
        return torch.autograd.grad(function(x), x)[0]

    expected = gradient(loss)
    torch.testing.assert_close(gradient(torch.compile(loss, fullgraph=True, backend="aot_eager")), expected)
    torch.testing.assert_close(gradient(lambda x: checkpoint(loss, x, use_reentrant=False)), expected)
    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=1, out_dims=1)(current)
    torch.testing.assert_close(mapped, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [0.5, torch.tensor(0.5), torch.tensor([0.5, 0.7])])
def test_the_dtype_stays(dtype, beta):
    spikes, state = LIF(beta).over_time(torch.randn(3, 4, 2).to(dtype))
    assert spikes.dtype == state.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("delay", [True, False])
def test_half_types_do_not_round_what_is_left_of_a_potential(dtype, learn, delay):
    """0.9995 is 1 in both. With a state in float32 a potential fades as it does in float64, and spikes are of the type of x."""
    cell = LIF(0.9995, learn_beta=True) if learn else LIF(torch.tensor([0.9995]))
    cell.reset, cell.delay_reset = "zero", delay
    left = 0.9995
    if learn:
        cell.to(dtype)
        left = torch.sigmoid(cell.raw_beta.detach().double()).item()
    v, x = torch.full((1,), 0.75), torch.zeros(1, dtype=dtype)
    for _ in range(400):
        spikes, v = cell(x, v)
    assert (spikes.dtype, v.dtype) == (dtype, torch.float32)
    assert v.item() == pytest.approx(0.75 * left**400, rel=1e-4)
    assert cell(torch.full((1,), 2.0, dtype=dtype), v)[0].item() == 1


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("mode", [lambda: torch.device("meta"), FakeTensorMode, torch.inference_mode, torch.no_grad])
def test_it_is_made_in_any_mode_and_filled_later(learn, mode):
    with mode():
        cell = LIF(0.7, learn_beta=learn)
    whole = LIF(0.7, learn_beta=learn)
    cell.load_state_dict(whole.state_dict(), strict=True, assign=True)
    current = _current(9)
    assert torch.equal(cell.over_time(current)[0], whole.over_time(current)[0])
    with mode():
        LIF.from_tau(2.0, learn_beta=learn)


def test_a_beta_for_each_neuron_may_come_with_the_state_dict():
    beta = torch.tensor([0.2, 0.5])
    for learn in (True, False):
        cell = LIF(beta.to("meta"), learn_beta=learn)
        cell.load_state_dict(LIF(beta, learn_beta=learn).state_dict(), strict=True, assign=True)
        torch.testing.assert_close(cell.beta, beta)
    with pytest.raises(RuleValueError, match=r"meta device and has no value\. Give a number"):
        LIF(torch.tensor(0.5, device="meta"))


def test_it_is_copied_and_pickled():
    cell = LIF(0.7, backward="triangular(1)")
    current = _current(8)
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert torch.equal(twin.over_time(current)[0], cell.over_time(current)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"beta": 1.1}, RuleValueError, "beta must be 0 to 1"),
        ({"beta": 1.0, "learn_beta": True}, RuleValueError, "both excluded"),
        ({"beta": torch.tensor([0.5, -1])}, RuleValueError, "beta must be 0 to 1"),
        ({"beta": math.nan}, RuleValueError, "beta must be"),
        ({"beta": "0.5"}, RuleTypeError, "beta must be a number or a tensor"),
        ({"threshold": math.inf}, RuleValueError, "threshold must be finite"),
        ({"gain": "1"}, RuleTypeError, "gain must be a number"),
        ({"gain": 10**400}, RuleValueError, "gain must be a number that a float can hold"),
        ({"reset": "soft"}, RuleValueError, "reset must be one of subtract, zero, none"),
        ({"backward": "atam"}, SpecError, "Did you mean 'atan'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        LIF(**arguments)


@pytest.mark.parametrize(("tau", "dt"), [(1.0, 1.0), (0.5, 1.0), (math.inf, 1.0), (2.0, 0.0)])
def test_a_time_constant_that_a_step_of_euler_overshoots_is_refused(tau, dt):
    with pytest.raises(RuleValueError, match=r"tau > dt|(tau|dt) must be finite and positive"):
        LIF.from_tau(tau, dt=dt)
    with pytest.raises(RuleTypeError, match="tau must be a number"):
        LIF.from_tau(str(tau), dt=dt)


@pytest.mark.parametrize(
    ("cell", "x", "v", "says"),
    [
        (LIF(0.5), (3,), (4, 3), r"the shape of x, got \(4, 3\) for \(3,\)"),
        (LIF(0.5), (1, 4), (4, 1), r"the shape of x, got \(4, 1\) for \(1, 4\)"),
        (LIF(0.5), (3,), (2,), r"the shape of x"),
        (LIF(torch.tensor([0.1, 0.2])), (3, 1), None, r"beta must broadcast against x .* got \(2,\) for \(3, 1\)"),
        (LIF(torch.tensor([[0.1, 0.2]]), learn_beta=True), (2,), None, r"beta must broadcast"),
    ],
)
def test_a_state_or_beta_that_would_change_the_shape_of_x_is_refused(cell, x, v, says):
    with pytest.raises(RuleValueError, match=says):
        cell(torch.zeros(x), None if v is None else torch.zeros(v))


@pytest.mark.parametrize(
    ("v", "says"),
    [
        (torch.zeros(3, dtype=torch.int64), r"floating dtype, got torch\.int64"),
        (torch.zeros(3, dtype=torch.complex64), r"floating dtype, got torch\.complex64"),
        ((torch.zeros(3),), "LIF needs a tensor, got tuple"),
    ],
)
def test_a_state_that_is_no_floating_tensor_is_refused(v, says):
    with pytest.raises(RuleTypeError, match=says):
        LIF(0.5)(torch.zeros(3), v)


def test_what_is_no_tensor_is_refused():
    for call in (LIF(0.5), LIF(0.5).over_time):
        with pytest.raises(RuleTypeError, match=r"LIF(\.over_time)? needs a tensor, got list"):
            call([1.0])


def test_no_step_at_all_is_refused():
    with pytest.raises(RuleValueError, match=r"\(T, batch, ...\) with T >= 1, got \(0, 3\)"):
        LIF().over_time(torch.zeros(0, 3))
