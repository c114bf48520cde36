"""Guarantee 1 for tensors that are more than an array: each works as PyTorch's relu does, or is refused in one line."""

import numpy as np
import pytest
import torch
from torch import nn

import tieless as tl
from tieless.errors import RuleTypeError

# Torch's own: nested tensors of the older layout are a prototype, compressed sparse ones in beta, and
# 2.12 says of any sparse one that it is not checked, also where it was told not to.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning"),
]

# By what is kept: nothing, bits, codes, z, y; and chains of them.
ELEMENTWISE = [
    ("relu", "constant(2)"),
    ("heaviside", "rectangular(-1, 1)"),
    ("gelu", "few_bit(3)"),
    ("softplus", "atan"),
    ("tanh", "tied"),
    ("heaviside", "triangular(1) >> clip(0.5) >> sign"),
    (torch.sin, "rectangular(-1, 1)"),
    (torch.sin, "tied"),
]
KEEPING_ZERO = [pair for pair in ELEMENTWISE if pair[0] != "softplus"]
LOOKING = [
    "normalize",
    "clip_norm(1)",
    "centralize",
    "quantize(3)",
    "rotate(30)",
    'sign(norm="tensor")',
    "magnitude_aware",
]


def _name(value):
    """By name: the address of a function, which ``str`` shows, differs between the processes of one run."""
    return " ".join(map(_name, value)) if isinstance(value, tuple) else getattr(value, "__name__", str(value))


_IDS = {"ids": _name}


class _Subclass(torch.Tensor):
    pass


def _untied(values, feedback, pair):
    """Result of an ordinary tensor of these values."""
    leaf = values.detach().clone().requires_grad_()
    y = tl.untie(leaf, *pair)
    y.backward(feedback)
    return y.detach(), leaf.grad


def _jagged():
    return torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(4, 3)], layout=torch.jagged, requires_grad=True)


def _with_holes():
    values, offsets, lengths = torch.randn(10, 3), torch.tensor([0, 3, 7, 10]), torch.tensor([2, 3, 3])
    return torch.nested.nested_tensor_from_jagged(values, offsets=offsets, lengths=lengths).detach().requires_grad_()


def _turned():
    return _jagged().detach().transpose(1, 2).requires_grad_()


@pytest.mark.parametrize("make", [_jagged, _turned], **_IDS)
@pytest.mark.parametrize("pair", ELEMENTWISE, **_IDS)
def test_jagged_tensors_are_untied_by_their_values(pair, make):
    z = make()
    feedback = torch.randn(z.values().shape)
    y = tl.untie(z, *pair)
    assert (y.shape, y.layout, y.dtype) == (z.shape, torch.jagged, z.dtype)
    torch.autograd.backward(y.values(), feedback)
    expected = _untied(z.values(), feedback, pair)
    torch.testing.assert_close((y.detach().values(), z.grad.values()), expected)
    # One ragged size: what was z can be added to what was y.
    assert (y + z).shape == z.shape


def test_a_jagged_tensor_with_holes_keeps_its_lengths():
    z = _with_holes()
    y = tl.untie(z, "heaviside", "rectangular(-1, 1)")
    assert torch.equal(y.lengths(), z.lengths())
    assert all(torch.equal(one, (other > 0).float()) for one, other in zip(y.unbind(), z.unbind(), strict=True))


def test_jagged_feedback_that_was_made_elsewhere():
    z = _jagged()
    y = tl.untie(z, "sign", "rectangular(-1, 1)")
    y.backward(torch.full_like(y, 3.0))
    assert torch.equal(z.grad.values(), 3.0 * (z.values().abs() <= 1))


def test_random_slopes_of_a_jagged_tensor_follow_from_the_seed():
    z, sent = _jagged(), []
    for _ in range(2):
        torch.manual_seed(5)
        (grad,) = torch.autograd.grad(tl.untie(z, "relu", "full_jam").values().sum(), z)
        sent.append(grad.values())
    assert torch.equal(*sent)
    assert len(sent[0].unique()) == sent[0].numel()


def test_a_network_of_jagged_tensors_trains_and_compiles_as_it_runs():
    net = nn.Sequential(nn.Linear(3, 5), tl.Activation("sign", "rectangular(-1, 1)"), nn.Linear(5, 2))
    sent = []
    for run in (net, torch.compile(net, backend="aot_eager")):
        net.zero_grad()
        torch.manual_seed(1)
        run(_jagged().detach()).values().sum().backward()
        sent.append(net[0].weight.grad)
    assert sent[0].any()
    torch.testing.assert_close(*sent)


@pytest.mark.parametrize("pair", ELEMENTWISE[:-1], **_IDS)
@pytest.mark.parametrize("turned", [False, True])
def test_nested_tensors_are_untied_part_by_part(pair, turned):
    parts = [torch.randn(2, 3), torch.randn(4, 3)]
    z = torch.nested.nested_tensor(parts, requires_grad=True)
    x = z.transpose(1, 2) if turned else z
    y = tl.untie(x, *pair)
    assert y.is_nested
    y.backward(torch.nested.nested_tensor([torch.full_like(part, 3) for part in x.unbind()]))
    for part, one, sent in zip(parts, y.unbind(), z.grad.unbind(), strict=True):
        expected = _untied(part, torch.full_like(part, 3), pair)
        torch.testing.assert_close((one.t() if turned else one, sent), expected)


@pytest.mark.parametrize("backward", LOOKING)
def test_what_looks_at_other_elements_is_refused_for_nested_and_sparse(backward):
    for z in (_jagged(), torch.nested.nested_tensor([torch.ones(2, 3)]), torch.eye(3).to_sparse()):
        with pytest.raises(RuleTypeError, match=r"looks at more than one element, and z is (nested|sparse)") as refusal:
            tl.untie(z, "relu", backward)
        assert "\n" not in str(refusal.value)
    with pytest.raises(RuleTypeError, match=r"ternary_weight.* looks at more than one element"):
        tl.untie(_jagged(), "ternary_weight", "constant")


def _values(z):
    return (z.coalesce() if z.layout is torch.sparse_coo else z).values()


SPARSE = {
    "coo": torch.Tensor.to_sparse,
    "csr": torch.Tensor.to_sparse_csr,
    "csc": torch.Tensor.to_sparse_csc,
    "bsr": lambda z: z.to_sparse_bsr((2, 2)),
    "bsc": lambda z: z.to_sparse_bsc((2, 2)),
}


@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.parametrize("pair", KEEPING_ZERO[:-1], **_IDS)
def test_sparse_tensors_are_untied_where_they_have_elements(pair, layout):
    z = SPARSE[layout](torch.randn(4, 6) * (torch.rand(4, 6) < 0.5)).requires_grad_()
    y = tl.untie(z, *pair)
    assert (y.layout, y.shape) == (z.layout, z.shape)
    # Not backward(): PyTorch adds up no gradients of a leaf in most of these layouts.
    (sent,) = torch.autograd.grad((y.to_dense() * 3).sum(), z)
    expected = _untied(_values(z), torch.full_like(_values(z), 3), pair)
    torch.testing.assert_close((_values(y.detach()), _values(sent)), expected)
    assert sent.layout == z.layout


def test_elements_that_are_stored_twice_are_one():
    z = torch.sparse_coo_tensor([[0, 0, 1]], [0.4, 0.4, -0.3], (3,), check_invariants=True).requires_grad_()
    tl.untie(z, "heaviside", "rectangular(-0.5, 0.5)").to_dense().sum().backward()
    assert torch.equal(z.grad.to_dense(), torch.tensor([0.0, 1.0, 0.0]))


def test_a_forward_that_makes_something_of_nothing_is_refused_for_sparse():
    z = torch.eye(3).to_sparse()
    with pytest.raises(RuleTypeError, match=r"makes 0\.5 of 0, and z is sparse"):
        tl.untie(z, "logistic", "constant")
    with pytest.raises(RuleTypeError, match="draws a y for each element, and z is sparse"):
        tl.untie(z, "bernoulli", "constant")


REFUSED = {
    "mkldnn": (lambda: torch.randn(3).to_mkldnn(), "layout torch._mkldnn"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8), "got torch.qint8"),
    "float8": (lambda: torch.randn(3).to(torch.float8_e4m3fn), "got torch.float8_e4m3fn"),
    "complex": (lambda: torch.randn(3, dtype=torch.complex64), "got torch.complex64"),
    "integers": (lambda: torch.arange(3), "got torch.int64"),
    "bool": (lambda: torch.ones(3, dtype=torch.bool), "got torch.bool"),
    "sparse integers": (lambda: torch.eye(3, dtype=torch.int64).to_sparse(), "got torch.int64"),
    "masked": (lambda: torch.masked.masked_tensor(torch.ones(2), torch.tensor([True, False])), "no MaskedTensor"),
    "array": (lambda: np.ones(3), "got ndarray"),
    "number": (lambda: 1.0, "got float"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors is in prototype stage:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_floating_elements_is_refused_in_one_line(kind):
    make, message = REFUSED[kind]
    for pair in (("relu", "constant"), ("heaviside", "atan"), ("sign", "rectangular(-1, 1)"), ("relu", "full_jam")):
        with pytest.raises(RuleTypeError, match=message) as refusal:
            tl.untie(make(), *pair)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("pair", [*ELEMENTWISE, ("relu", "full_jam"), ("relu", "normalize")], **_IDS)
def test_subclasses_are_what_relu_makes_of_them(pair):
    for make in (lambda: torch.randn(4, 6).as_subclass(_Subclass), lambda: nn.Buffer(torch.randn(4, 6))):
        z = make().requires_grad_()
        y, native = tl.untie(z, *pair), torch.relu(z)
        assert (type(y), y.device, y.shape, y.dtype) == (type(native), native.device, native.shape, native.dtype)
        (sent,) = torch.autograd.grad(y, z, torch.ones_like(y))
        assert (sent.shape, sent.device) == (z.shape, z.device)


def test_a_subclass_has_the_values_of_its_elements():
    z, feedback = torch.randn(4, 6), torch.randn(4, 6)
    for pair in ELEMENTWISE:
        leaf = z.as_subclass(_Subclass).requires_grad_()
        y = tl.untie(leaf, *pair)
        y.backward(feedback)
        expected = _untied(z, feedback, pair)
        torch.testing.assert_close(
            (y.detach().as_subclass(torch.Tensor), leaf.grad.as_subclass(torch.Tensor)), expected
        )


def test_a_parameter_that_has_no_values_yet_is_refused_as_by_relu():
    for function in (torch.relu, lambda z: tl.untie(z, "heaviside", "atan")):
        with pytest.raises(ValueError, match="uninitialized parameter"):
            function(nn.UninitializedParameter())


@pytest.mark.parametrize("backward", ["constant(2)", "rectangular(-1, 1)", "atan", "full_jam", "normalize"])
def test_sparse_feedback_is_that_of_its_dense_twin(backward):
    z, feedback, sent = torch.randn(4, 6, requires_grad=True), torch.eye(4, 6), []
    for one in (feedback, feedback.to_sparse()):
        torch.manual_seed(3)
        # By an autograd function, as an embedding's: backward() itself takes no other layout than that of y.
        (grad,) = torch.autograd.grad(_Sends.apply(tl.untie(z, "relu", backward), one), z)
        sent.append(grad)
    torch.testing.assert_close(*sent)


class _Sends(torch.autograd.Function):
    """A function that sends back what it is given."""

    @staticmethod
    def forward(ctx, y, feedback):
        ctx.feedback = feedback
        return y.sum()

    @staticmethod
    def backward(ctx, _):
        return ctx.feedback, None


def test_feedback_weights_and_learning_slopes_take_arrays_alone():
    net = tl.convert_feedback(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), "fa")
    with pytest.raises(RuleTypeError, match="Feedback weights cannot take a nested tensor"):
        net(_jagged())
    with pytest.raises(RuleTypeError, match="A slope that learns cannot take a nested tensor"):
        tl.nn.LearnableActivation()(_jagged())


def test_packed_activations_leave_other_kinds_as_they_are():
    sent = []
    for least in (1, 10**6):
        torch.manual_seed(2)
        z = _jagged()
        with tl.packed_activations(min_elements=least):
            y = tl.untie(z, "sign", "rectangular(-1, 1)")
            (y * y).values().sum().backward()
        sent.append(z.grad.values())
    assert torch.equal(*sent)


@pytest.mark.parametrize("z", [[1.0], 2.0, None, "z"], ids=str)
def test_what_is_no_tensor_is_refused_in_one_line(z):
    for act in (
        tl.Activation("relu", "constant"),
        tl.Activation(torch.relu, "tied"),
        tl.Activation(torch.sin, "atan"),
        tl.nn.LearnableActivation(),
        tl.nn.LIF(0.5),
        tl.nn.LIF(0.5).over_time,
    ):
        with pytest.raises(tl.errors.RuleTypeError, match="needs a tensor, got"):
            act(z)


def test_a_generator_that_is_none_is_refused_in_one_line():
    for given in (3, "cpu", torch.Generator):
        with pytest.raises(tl.errors.RuleTypeError, match=r"draws its key by a torch\.Generator, got"):
            tl.untie(torch.ones(3), "relu", "full_jam", generator=given)
