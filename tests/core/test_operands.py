"""Tensors that are not plain memory, as ``z``, as feedback and as what was kept: each gives what a plain copy gives."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from tests.matrix.asking import feedback_of
from tests.pairs import OWN_EXP
from tieless import untie
from tieless.errors import KernelError
from tieless.kernels import numba_cpu, reference

KERNELS = [numba_cpu, reference]


def _numbers(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _same(got, expected, rule):
    """Equal; close where a kernel has an exponential of its own, or a sum over a batch runs in another order."""
    exact = not (rule in OWN_EXP or "norm" in rule)
    return torch.equal(got, expected) if exact else torch.allclose(got, expected, rtol=1e-5, atol=1e-7)


def _negated(values):
    """``values``, which lie negated in memory."""
    negated = torch.complex(torch.zeros_like(values), -values).conj().imag
    assert negated.is_neg()
    assert torch.equal(negated, values)
    return negated


class _Lazy(torch.Tensor):
    """A tensor around another one that shows it at the first operation, as what a collective returns does."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=inner.device, strides=inner.stride()
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(_Lazy, lambda lazy: lazy.inner, (args, kwargs or {}))
        return func(*args, **kwargs)


class _Wrapped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _Lazy(x.detach())

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


def _sent(z, forward, rule, make=lambda z: z * 1, feedback=None):
    """The value, and what reaches ``z`` through a tensor that is made of it."""
    leaf = z.clone().requires_grad_()
    torch.manual_seed(5)
    y = untie(make(leaf), forward, rule)
    y.backward(feedback_of(y) if feedback is None else feedback)
    return y.detach(), leaf.grad


class _Negated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _negated(x.detach())

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


@pytest.mark.parametrize("make", [_Negated.apply, _Wrapped.apply], ids=["negated", "wrapped"])
def test_what_is_not_plain_memory_is_read_as_what_it_means(rule, fitting_forwards, make):
    z = _numbers(3, 11)
    for forward in {fitting_forwards[0], fitting_forwards[-1]}:
        expected, got = _sent(z, forward, rule), _sent(z, forward, rule, make)
        assert all(_same(one, other, rule) for one, other in zip(got, expected, strict=True)), forward


@pytest.mark.parametrize("make", [_negated, lambda g: g[0].expand_as(g), _Lazy], ids=["neg", "row", "lazy"])
def test_feedback_that_is_not_plain_memory_is_read_as_what_it_means(rule, fitting_forwards, make):
    z, feedback = _numbers(3, 8), make(_numbers(3, 8, seed=1))
    forward = fitting_forwards[0]
    plain = torch.zeros(3, 8).copy_(feedback)
    assert _same(_sent(z, forward, rule, feedback=feedback)[1], _sent(z, forward, rule, feedback=plain)[1], rule)


def test_feedback_of_zeros_without_memory_sends_zeros():
    for forward, rule in (("relu", "tied"), ("heaviside", "atan"), ("gelu", "few_bit(3)"), ("relu", "full_jam")):
        assert not _sent(_numbers(9), forward, rule, feedback=torch._efficientzerotensor((9,)))[1].any()


def test_windows_of_a_negated_view_are_those_of_its_values():
    leaf = torch.tensor([0.5, -0.5, 1.5, -1.5], requires_grad=True)
    z = torch.complex(torch.zeros(4), leaf).conj().imag  # -leaf
    assert torch.autograd.grad(untie(z, "relu", "rectangular(0, 1)").sum(), leaf)[0].tolist() == [0, -1, 0, 0]


def _hooked(rule, forward, unpack):
    z = _numbers(24).requires_grad_()
    with saved_tensors_hooks(lambda saved: saved, unpack):
        y = untie(z * 1, forward, rule)
    y.backward(torch.ones_like(y))
    return z.grad


@pytest.mark.parametrize(("going", "back"), [("heaviside", "rectangular"), ("gelu", "few_bit(3)"), ("tanh", "atan")])
def test_a_hook_may_give_back_what_was_kept_in_another_place_of_memory(going, back):
    def spread(saved):
        room = saved.new_zeros(*saved.shape, 3)
        room[..., 1] = saved
        return room[..., 1]

    assert torch.equal(_hooked(back, going, spread), _hooked(back, going, lambda saved: saved))


@pytest.mark.parametrize(
    "unpack",
    [
        lambda t: t[..., :1],
        lambda t: t.repeat(*[1] * (t.dim() - 1), 2),
        lambda t: t.to(torch.int16),
        lambda t: t.to("meta"),
    ],
    ids=["shorter", "longer", "dtype", "device"],
)
@pytest.mark.parametrize(
    ("going", "back"),
    [("heaviside", "rectangular"), ("gelu", "few_bit(3)"), ("heaviside", "atan"), ("relu", "positive_jam")],
)
def test_what_a_hook_has_changed_is_refused(going, back, unpack):
    with pytest.raises(KernelError, match="A saved-tensor hook must give back what it was given"):
        _hooked(back, going, unpack)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.rpartition(".")[2])
@pytest.mark.parametrize("elements", [1, 7, 8, 9, 64])
def test_kernels_read_bits_wherever_they_lie(kernels, elements):
    feedback = torch.ones(elements)
    bits = torch.arange((elements + 7) // 8, dtype=torch.uint8) * 37 + 5
    apart = bits.repeat_interleave(2)[::2]
    assert torch.equal(kernels.gate(feedback, apart, 1.0, 0.5), kernels.gate(feedback, bits, 1.0, 0.5))
    codes = torch.stack([bits, bits ^ 255])
    values = (0.5, 1.0, 2.0, 3.0)
    assert torch.equal(
        kernels.levels(feedback, codes.t().contiguous().t(), values), kernels.levels(feedback, codes, values)
    )
    one = bits[:1].expand_as(bits)
    assert torch.equal(kernels.gate(feedback, one, 1.0, 0.5), kernels.gate(feedback, one.clone(), 1.0, 0.5))


# Sizes around a byte of bits, examples along any dimension.


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 33])
def test_jacobians_are_those_of_a_loop(size):
    z = _numbers(size)
    for forward, rule, slope in (
        ("relu", "tied", (z > 0).float()),
        ("heaviside", "rectangular(-1, 1)", ((z >= -1) & (z <= 1)).float()),
        ("linear", "leaky_relu(0.5)", torch.where(z > 0, 1.0, 0.5)),
    ):
        jacobian = torch.func.jacrev(lambda x, f=forward, r=rule: untie(x, f, r))(z)
        assert torch.equal(jacobian, torch.diag(slope))
        chunked = torch.func.jacrev(lambda x, f=forward, r=rule: untie(x, f, r), chunk_size=1)(z)
        assert torch.equal(chunked, jacobian)
        leaf = z.clone().requires_grad_()
        rows = torch.autograd.grad(untie(leaf, forward, rule), leaf, torch.eye(size), is_grads_batched=True)
        assert torch.equal(rows[0], jacobian)


def _images(dim):
    """A batch of three channels-last images, and what is sent at each of them, with the examples at ``dim``."""
    z = _numbers(3, 2, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    z = torch.stack([example.to(memory_format=torch.channels_last) for example in z])
    return z.movedim(0, dim), _numbers(*z.shape, seed=3).movedim(0, dim)


@pytest.mark.parametrize(("batched", "dim"), [("both", 4), ("both", 1), ("feedback", 0)])
def test_examples_of_a_mapped_batch_of_images_are_those_of_a_loop(rule, fitting_forwards, batched, dim):
    z, feedback = _images(dim)
    example = z.select(dim, 0)

    def send(x, g):
        return torch.func.grad(lambda x: (untie(x, forward, rule) * g).sum())(x)

    for forward in fitting_forwards[:1]:
        torch.manual_seed(2)
        if batched == "both":
            mapped = torch.func.vmap(send, in_dims=dim, randomness="same")(z, feedback)
        else:
            mapped = torch.func.vmap(send, in_dims=(None, dim), randomness="same")(example, feedback)
        for i in range(3):
            torch.manual_seed(2)
            alone = send(z.select(dim, i) if batched == "both" else example, feedback.select(dim, i))
            assert _same(mapped[i], alone, rule), (forward, i)


def test_feedback_batched_by_autograd_follows_images_in_channels_last(rule, fitting_forwards):
    z = _numbers(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    feedback = _numbers(5, 2, 3, 4, 4, seed=1)
    leaf = z.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(3)
    y = untie(leaf, fitting_forwards[0], rule)
    (rows,) = torch.autograd.grad(y, leaf, feedback, is_grads_batched=True, retain_graph=True)
    for i in range(5):
        assert _same(rows[i], torch.autograd.grad(y, leaf, feedback[i], retain_graph=True)[0], rule)


# Transforms that have ended: what they kept outlives them.


def test_the_pull_of_vjp_runs_after_the_transform_has_ended(rule, fitting_forwards):
    z, feedback = _numbers(13), _numbers(13, seed=1)
    for forward in {fitting_forwards[0], fitting_forwards[-1]}:
        torch.manual_seed(5)
        y, pull = torch.func.vjp(lambda x, forward=forward: untie(x, forward, rule), z)
        expected = _sent(z, forward, rule, feedback=feedback)
        assert torch.equal(y, expected[0])
        assert _same(pull(feedback)[0], expected[1], rule), forward
        assert _same(pull(feedback)[0], expected[1], rule), forward


def test_the_tangent_kernel_of_a_converted_network_is_that_of_the_network():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    x = _numbers(4, 3)

    def kernel(function):
        rows = torch.func.jacrev(function, chunk_size=1)(weights)
        return sum(row.flatten(2).flatten(0, 1) @ row.flatten(2).flatten(0, 1).T for row in rows.values())

    expected = kernel(lambda w: F.linear(F.relu(F.linear(x, w["0.weight"], w["0.bias"])), w["2.weight"], w["2.bias"]))
    ours = kernel(
        lambda w: F.linear(untie(F.linear(x, w["0.weight"], w["0.bias"]), "relu", "tied"), w["2.weight"], w["2.bias"])
    )
    torch.testing.assert_close(ours, expected)
