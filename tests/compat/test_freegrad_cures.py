"""Faults of freegrad 1.0 that are mended here. docs/migration/freegrad.md has the list."""

import contextvars
import copy
import gc
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.compat import freegrad as fg
from tieless.compat.freegrad import registry
from tieless.compat.freegrad.functional import jvp, vjp
from tieless.compat.freegrad.hook import attach_param_hooks
from tieless.compat.freegrad.registry import RuleError
from tieless.errors import RuleTypeError, RuleValueError, SpecError, TransformError, UntrainableError

Z = torch.linspace(-2, 2, 41, dtype=torch.float64)
WINDOW = ((Z >= -0.5) & (Z <= 0.5)).double()
RELU = (Z > 0).double()


@pytest.fixture(autouse=True)
def _rules(monkeypatch):
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


def gradient(act, z=Z):
    leaf = z.clone().requires_grad_()
    act(leaf).sum().backward()
    return leaf.grad


def in_thread(function):
    """Result of the function, or its error, in a thread of its own."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except Exception as error:  # noqa: BLE001 - raised again below
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


# The rule holds where it should.


def test_a_thread_started_inside_of_a_block_is_inside_of_it():
    act = fg.Activation("ReLU")
    with fg.use("rectangular"):
        assert torch.equal(in_thread(lambda: gradient(act)), WINDOW)
    assert torch.equal(in_thread(lambda: gradient(act)), RELU)


def test_a_block_of_a_thread_is_its_own():
    act, entered, left = fg.Activation("ReLU"), threading.Event(), threading.Event()

    def other():
        with fg.use("rectangular"):
            entered.set()
            left.wait()

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    try:
        assert torch.equal(gradient(act), RELU)
        assert torch.equal(in_thread(lambda: gradient(act)), RELU)
    finally:
        left.set()
        thread.join()


def test_the_innermost_block_of_a_thread_counts_before_that_of_the_main_thread():
    act = fg.Activation("ReLU")

    def own():
        with fg.use("scale", params={"s": 3.0}):
            inside = gradient(act)
        return inside, gradient(act)

    with fg.use("rectangular"):
        inside, after = in_thread(own)
    assert torch.equal(inside, torch.full_like(Z, 3.0))
    assert torch.equal(after, WINDOW)


def test_a_thread_beside_tasks_that_differ_is_told_so():
    contexts = [contextvars.copy_context() for _ in range(2)]
    for context, rule in zip(contexts, ["rectangular", "full_jam"], strict=True):
        context.run(fg.use(rule).__enter__)
    with pytest.raises(RuleError, match="differ"):
        in_thread(lambda: gradient(fg.Activation()))
    del context, contexts
    gc.collect()
    assert torch.equal(in_thread(lambda: gradient(fg.Activation())), RELU)


def test_the_backward_pass_may_run_in_any_thread():
    leaf = Z.clone().requires_grad_()
    with fg.use("rectangular"):
        total = fg.Activation("ReLU")(leaf).sum()
    in_thread(total.backward)
    assert torch.equal(leaf.grad, WINDOW)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_repeats_the_forward_pass_under_the_rule_of_the_first(reentrant):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), fg.Activation("ReLU"), nn.Linear(8, 8), fg.Activation("Tanh"))
    x = torch.randn(4, 8, requires_grad=True)

    def loss(*, checkpointed):
        with fg.use("rectangular", params={"a": -0.1, "b": 0.2}):
            return (checkpoint(net, x, use_reentrant=reentrant) if checkpointed else net(x)).sum()

    (expected,) = torch.autograd.grad(loss(checkpointed=False), x)
    loss(checkpointed=True).backward()  # outside of the block, and below inside of another
    assert torch.equal(x.grad, expected)
    x.grad = None
    total = loss(checkpointed=True)
    with fg.use("scale", params={"s": 100.0}):
        total.backward()
    assert torch.equal(x.grad, expected)


def test_a_checkpoint_that_cannot_know_its_rule_says_so():
    act, x = fg.Activation("ReLU"), torch.randn(4, requires_grad=True)
    totals = []
    for s in (2.0, 3.0):
        with fg.use("scale", params={"s": s}):
            totals.append(checkpoint(act, x, use_reentrant=True).sum())
    with pytest.raises(RuleError, match="several rules"):
        totals[0].backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_each_step_of_training_may_have_another_rule(reentrant):
    act, x = fg.Activation("ReLU"), Z.clone().requires_grad_()
    for s in (2.0, 3.0, 2.0):
        with fg.use("scale", params={"s": s}):
            total = checkpoint(act, x, use_reentrant=reentrant).sum()
        x.grad = None
        total.backward()
        assert torch.equal(x.grad, torch.full_like(Z, s))


def test_plain_calls_and_evaluation_do_not_confuse_a_checkpoint():
    act, x = fg.Activation("ReLU"), Z.clone().requires_grad_()
    for s in range(20):
        with fg.use("scale", params={"s": float(s)}):
            act(x)
    for _ in range(2):
        act.eval()
        with torch.no_grad():
            act(x)
        act.train()
        x.grad = None
        with fg.use("rectangular"):
            total = checkpoint(act, x, use_reentrant=True).sum()
        total.backward()
        assert torch.equal(x.grad, WINDOW)


def test_a_context_that_is_entered_twice_ends():
    act, context = fg.Activation("ReLU"), fg.use("rectangular")
    with context:
        with context:
            pass
        assert torch.equal(gradient(act), WINDOW)
    assert torch.equal(gradient(act), RELU)
    context.__exit__(None, None, None)
    assert torch.equal(gradient(act), RELU)


def test_contexts_may_end_in_any_order():
    act, first, second = fg.Activation("ReLU"), fg.use("rectangular"), fg.use("scale", params={"s": 5.0})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.equal(gradient(act), torch.full_like(Z, 5.0))
    second.__exit__(None, None, None)
    assert torch.equal(gradient(act), RELU)


def test_a_layer_may_have_a_rule_of_its_own():
    act = fg.Activation("Heaviside", rule="rectangular", params={"a": -0.5, "b": 0.5})
    with fg.use("full_jam"):
        assert torch.equal(gradient(act), WINDOW)
    assert torch.equal(in_thread(lambda: gradient(act)), WINDOW)
    assert torch.equal(gradient(fg.Activation("ReLU", rule=tl.Rectangular(-0.5, 0.5))), WINDOW)
    for again in (pickle.loads(pickle.dumps(act)), copy.deepcopy(act)):
        assert torch.equal(gradient(again), WINDOW)


# Mistakes are told.


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fg.use("rectangular", params={"lo": -1.0}), SpecError, "Unknown parameter 'lo'.*takes a, b"),
        (lambda: fg.use("triangular", params={"widht": 1.0}), SpecError, "Did you mean 'width'"),
        (lambda: fg.use(fg.compose("scale", "noise"), params={"a": 1.0}), SpecError, "takes s, sigma"),
        (lambda: fg.use(lambda ctx, g, z, k=1.0, **_: g, params={"q": 2.0}), SpecError, "takes k"),
        (lambda: fg.use("rectangular", params={"a": 1.0, "b": -1.0}), RuleValueError, "low < high"),
        (lambda: fg.use("triangular", params={"width": -1.0}), RuleValueError, "width"),
        (lambda: fg.use("clip_norm", params={"max_norm": 0.1, "eps": 1.0}), RuleValueError, "eps <= max_norm"),
        (lambda: fg.use("centralize", params={"keepdim": False}), RuleValueError, "keepdim"),
        (lambda: fg.use("scale", params={"s": "2"}), RuleTypeError, "number"),
        (lambda: fg.use("full_jam", scope="activation"), RuleValueError, "Unknown scope 'activation'.*activations"),
        (lambda: fg.use("full_jam", scope=3), RuleTypeError, "scope"),
        (lambda: fg.use("rectangula"), RuleError, "Did you mean 'rectangular'"),
        (lambda: fg.use("rectangula"), KeyError, "rectangula"),
        (lambda: fg.use(3), RuleError, "3"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(make, error, message):
    with pytest.raises(error, match=message), make():
        pass
    assert torch.equal(gradient(fg.Activation()), RELU)


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(RuleError, match="already registered"):
        fg.register("scale")(lambda ctx, g, z: g)
    with pytest.raises(RuleTypeError, match="ctx, grad_out, tin"):
        fg.register("mine")(lambda g: g)
    with pytest.raises(ValueError, match=r"Unsupported.*There are: ELU"):
        fg.Activation("Relu")
    with pytest.raises(RuleTypeError, match="params are for a rule"):
        fg.Activation("ReLU", params={"s": 2.0})


def test_parameters_are_copied():
    params = {"s": 2.0}
    context = fg.use("scale", params=params)
    params["s"] = 7.0
    with context:
        assert torch.equal(gradient(fg.Activation()), torch.full_like(Z, 2.0))


def test_a_function_that_returns_no_gradient_is_refused():
    with fg.use(lambda ctx, g, z: g.sum()), pytest.raises(RuleTypeError, match="feedback's shape"):
        gradient(fg.Activation())


def test_a_step_without_a_rule_goes_forward_and_says_what_it_lacks():
    leaf = Z.clone().requires_grad_()
    y = fg.Activation("Heaviside")(leaf)
    assert torch.equal(y, RELU)
    with pytest.raises(UntrainableError, match="Heaviside"):
        y.sum().backward()


def test_everything_can_be_printed_and_pickled():
    context = fg.use(fg.compose("rectangular", "noise"), {"sigma": 0.5}, scope=("params",))
    assert repr(context) == "use(rule=compose(rectangular, noise), params={'sigma': 0.5}, scope=('params',))"
    assert repr(fg.Activation("GELU", rule="full_jam")) == "Activation(GELU, rule=full_jam)"
    act = fg.Activation()
    with fg.use(lambda ctx, g, z: g), torch.no_grad():
        act(Z)  # what it was called under is not part of it
    assert repr(pickle.loads(pickle.dumps(act))) == "Activation(ReLU)"
    again = pickle.loads(pickle.dumps(context))
    assert repr(again) == repr(context)
    assert again.rule == context.rule
    assert pickle.loads(pickle.dumps(fg.transforms.full_jam)) is fg.transforms.full_jam


# Random numbers.


def noisy(ctx, grad_out, tin, **_):
    return grad_out * torch.rand_like(grad_out) * (tin > -1)


@pytest.fixture(params=["full_jam", "positive_jam", "rectangular_jam", "noise", "written"])
def random_rule(request):
    if request.param == "written":
        fg.register("written", draws=True)(noisy)
    return request.param


def test_two_backward_passes_through_one_graph_agree(random_rule):
    leaf = Z.clone().requires_grad_()
    with fg.use(random_rule):
        total = fg.Activation()(leaf).sum()
    first, second = (torch.autograd.grad(total, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_backward_pass_leaves_the_generator_alone_and_it_leaves_the_gradient(random_rule):
    def step(between):
        torch.manual_seed(3)
        leaf = Z.clone().requires_grad_()
        with fg.use(random_rule):
            total = fg.Activation()(leaf).sum()
        torch.rand(between)
        before = torch.get_rng_state()
        total.backward()
        assert torch.equal(before, torch.get_rng_state())
        return leaf.grad

    assert torch.equal(step(0), step(1))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_jams_as_without(random_rule, reentrant):
    act = fg.Activation()

    def step(call):
        torch.manual_seed(3)
        leaf = Z.clone().requires_grad_()
        with fg.use(random_rule):
            total = call(leaf).sum()
        total.backward()
        return leaf.grad

    assert torch.equal(step(act), step(lambda z: checkpoint(act, z, use_reentrant=reentrant)))


def test_calls_and_rules_of_a_chain_draw_different_numbers(random_rule):
    torch.manual_seed(0)
    with fg.use(random_rule):
        assert not torch.equal(gradient(fg.Activation()), gradient(fg.Activation()))
    fg.register("other", draws=True)(lambda ctx, g, z: g + torch.rand_like(g))
    fg.register("another", draws=True)(lambda ctx, g, z: g - torch.rand_like(g))
    with fg.use(fg.compose("other", "another")):
        assert (gradient(fg.Activation()) - 1).abs().max() > 0.1


def test_a_function_that_does_not_say_that_it_draws_takes_no_key():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with fg.use(lambda ctx, g, z: g):
        gradient(fg.Activation())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("random_rule", ["full_jam", "positive_jam", "rectangular_jam", "written"], indirect=True)
def test_jams_are_uniform_where_they_pass(random_rule):
    torch.manual_seed(0)
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    passes = {"full_jam": z > -99, "positive_jam": z >= 0, "rectangular_jam": z.abs() <= 5, "written": z > -1}[
        random_rule
    ]
    with fg.use(random_rule):
        drawn = gradient(fg.Activation("Tanh"), z)
    assert torch.equal(drawn != 0, passes)
    u = drawn[passes].sort().values
    steps = torch.arange(1, len(u) + 1, dtype=torch.float64) / len(u)
    assert (u - steps).abs().max() < 1.95 / len(u) ** 0.5  # Kolmogorov and Smirnov, one in a thousand


def test_noise_is_normal():
    torch.manual_seed(0)
    with fg.use("noise", params={"sigma": 0.2}):
        drawn = (gradient(fg.Activation(), torch.zeros(40_000, dtype=torch.float64)) - 1) / 0.2
    u = torch.special.ndtr(drawn).sort().values
    steps = torch.arange(1, len(u) + 1, dtype=torch.float64) / len(u)
    assert (u - steps).abs().max() < 1.95 / len(u) ** 0.5


# Parameters.


def test_hooks_attached_twice_apply_once_and_frozen_parameters_are_named():
    net = nn.Linear(3, 2)
    attach_param_hooks(net)
    attach_param_hooks(net)
    with fg.use("scale", params={"s": 2.0}, scope="params"):
        net(torch.ones(3)).sum().backward()
    assert net.weight.grad.tolist() == [[2.0] * 3] * 2
    net.bias.requires_grad_(requires_grad=False)
    with pytest.raises(RuleTypeError, match="'bias' is frozen"):
        attach_param_hooks(net)


@pytest.mark.parametrize("rule", ["rectangular", "triangular", tl.Rectangular()])
def test_a_rule_that_reads_its_input_has_none_at_a_parameter(rule):
    net = nn.Linear(3, 2)
    attach_param_hooks(net)
    with fg.use(rule, scope="params"), pytest.raises(RuleTypeError, match="has none"):
        net(torch.ones(3)).sum().backward()


def test_jams_of_parameters_are_random_slopes():
    net = nn.Linear(300, 2)
    attach_param_hooks(net)
    for rule in ("full_jam", "positive_jam", "rectangular_jam"):
        net.zero_grad()
        with fg.use(rule, scope="params"):
            net(-torch.ones(300)).sum().backward()
        slopes = -net.weight.grad
        assert ((slopes >= 0) & (slopes < 1)).all()
        assert len(slopes.unique()) > 590


# Products with the Jacobian.

RULES = ["d(ReLU)", "d(Linear)", "rectangular", "triangular", "scale", "centralize", "full_jam", "rectangular_jam"]
LINEAR = [*RULES, fg.compose("rectangular", "centralize"), fg.compose("centralize", "positive_jam", "triangular")]


@pytest.mark.parametrize("rule", [*LINEAR, lambda ctx, g, z: g.cumsum(-1) * z.cos()])
@pytest.mark.parametrize("forward", ["ReLU", "Heaviside", "Logistic"])
def test_jvp_is_the_transpose_of_vjp(rule, forward):
    torch.manual_seed(0)
    weights = [torch.randn(7, 7, dtype=torch.float64) for _ in range(3)]
    act, x, u, v = fg.Activation(forward), *(torch.randn(5, 7, dtype=torch.float64) for _ in range(3))

    def f(z):
        return act(act(z @ weights[0]) @ weights[1]) @ weights[2]

    torch.manual_seed(1)
    along = (u * jvp(f, x, v, rule=rule)).sum()
    torch.manual_seed(1)
    back = (vjp(f, x, rule=rule)[1](u) * v).sum()
    torch.testing.assert_close(along, back)
    assert along != 0


def test_jvp_refuses_what_has_no_jacobian():
    for rule in ("noise", "clip_norm", tl.Sign()):
        with pytest.raises(TransformError, match="not linear"):
            jvp(fg.Activation(), Z, Z, rule=rule)
    with pytest.raises(RuleTypeError, match="params are for a rule"):
        jvp(fg.Activation(), Z, Z, params={"s": 2.0})
    assert not jvp(lambda z: torch.ones(2), Z, Z).any()


# What PyTorch does.


def test_bits_are_kept_and_not_the_input():
    kept = []

    def pack(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for rule, most in [("rectangular", 8 * 64), ("full_jam", 0), ("scale", 0)]:
            kept.clear()
            with fg.use(rule):
                fg.Activation("ReLU")(torch.randn(4096, requires_grad=True))
            assert sum(kept) <= most


@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_compiled_code_asks_which_rule_is_active():
    torch.compiler.reset()
    net = torch.compile(nn.Sequential(fg.Activation("ReLU")), backend="aot_eager")
    for s in (2.0, 3.0):
        with fg.use("scale", params={"s": s}):
            assert torch.equal(gradient(net), torch.full_like(Z, s))
    assert torch.equal(gradient(net), RELU)
    with fg.use(lambda ctx, g, z: g * 7):
        assert torch.equal(gradient(net), torch.full_like(Z, 7.0))
    fg.register("drawing", draws=True)(lambda ctx, g, z: g * (1 + torch.rand_like(g)))
    with fg.use("drawing"):
        assert len(gradient(net).unique()) == len(Z)
    torch.compiler.reset()
    whole = torch.compile(fg.Activation("ReLU"), backend="aot_eager", fullgraph=True)
    with pytest.raises(Exception, match=r"the rule comes from use\(...\)"):
        gradient(whole)
    own = torch.compile(fg.Activation("ReLU", rule="rectangular"), backend="aot_eager", fullgraph=True)
    assert torch.equal(gradient(own), WINDOW)


def test_second_derivatives_are_right_without_a_rule_and_the_rules_own_or_refused_with_one():
    leaf = Z.clone().requires_grad_()
    (first,) = torch.autograd.grad(fg.Activation("Tanh")(leaf).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    torch.testing.assert_close(second, -2 * Z.tanh() * (1 - Z.tanh() ** 2))
    for rule, params in (("rectangular", {}), ("clip_norm", {"max_norm": 1.0})):
        with fg.use(rule, params):
            (first,) = torch.autograd.grad(fg.Activation("Tanh")(leaf).sum(), leaf, create_graph=True)
        if rule == "rectangular":
            assert not torch.autograd.grad(first.sum(), leaf)[0].any()
        else:
            with pytest.raises(tl.errors.SecondDerivativeError):
                first.sum().backward()
