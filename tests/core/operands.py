"""Tensors that are not plain memory, as ``z``, as feedback and as what was kept: each gives what a plain copy gives.

A kernel that is given the address of one of them by mistake may crash, so ``test_operands`` asks this in a process of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map_only

from tests.core.parts import Part
from tests.matrix.asking import feedback_of
from tests.pairs import OWN_EXP, Pair
from tieless import untie
from tieless.errors import KernelError
from tieless.kernels import numba_cpu, reference

__all__ = ["given", "kept", "numbers", "same", "sent", "without_values"]


def numbers(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(got, expected, rule):
    """Equal; close where a kernel has an exponential of its own, or a sum over a batch runs in another order."""
    exact = not (rule in OWN_EXP or "norm" in rule)
    return torch.equal(got, expected) if exact else torch.allclose(got, expected, rtol=1e-5, atol=1e-7)


def sent(z, forward, rule, make=lambda z: z * 1, feedback=None):
    """The value, and what reaches ``z`` through a tensor that is made of it."""
    leaf = z.clone().requires_grad_()
    torch.manual_seed(5)
    y = untie(make(leaf), forward, rule)
    y.backward(feedback_of(y) if feedback is None else feedback)
    return y.detach(), leaf.grad


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


class _Negated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _negated(x.detach())

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


_AS_Z = {"negated": _Negated.apply, "wrapped": _Wrapped.apply}
_AS_FEEDBACK = {"negated": _negated, "one row": lambda g: g[0].expand_as(g), "wrapped": _Lazy}


def _z(forward, rule, kind):
    z = numbers(3, 11)
    expected, got = sent(z, forward, rule), sent(z, forward, rule, _AS_Z[kind])
    assert same(got[0], expected[0], rule), "y"
    assert same(got[1], expected[1], rule), "gradient"


def _feedback(forward, rule, kind):
    z, feedback = numbers(3, 8), _AS_FEEDBACK[kind](numbers(3, 8, seed=1))
    plain = torch.zeros(3, 8).copy_(feedback)
    assert same(sent(z, forward, rule, feedback=feedback)[1], sent(z, forward, rule, feedback=plain)[1], rule)


def _zeros_without_memory(forward, rule):
    assert not sent(numbers(9), forward, rule, feedback=torch._efficientzerotensor((9,)))[1].any()


def _window_of_a_negated_view():
    leaf = torch.tensor([0.5, -0.5, 1.5, -1.5], requires_grad=True)
    z = torch.complex(torch.zeros(4), leaf).conj().imag  # -leaf
    assert torch.autograd.grad(untie(z, "relu", "rectangular(0, 1)").sum(), leaf)[0].tolist() == [0, -1, 0, 0]


def given(pairs: Sequence[Pair]) -> Iterator[Part]:
    """Tensors that are given, asked of ``pairs``."""
    for pair in pairs:
        yield from (Part(_z, (*pair, kind)) for kind in _AS_Z)
        yield from (Part(_feedback, (*pair, kind)) for kind in _AS_FEEDBACK)
    for pair in (("relu", "tied"), ("heaviside", "atan"), ("gelu", "few_bit(3)"), ("relu", "full_jam")):
        yield Part(_zeros_without_memory, pair)
    yield Part(_window_of_a_negated_view, ())


def _fake():
    with FakeTensorMode():
        return torch.empty(3, 4, 5, 6).to(memory_format=torch.channels_last)


_WITHOUT_VALUES = {
    "fake": _fake,
    "of an array": lambda: FakeTensorMode().from_tensor(torch.randn(4, 6)),
    "meta": lambda: torch.empty(3, 8, device="meta"),
}


def _form(forward, rule, kind):
    z = _WITHOUT_VALUES[kind]().requires_grad_()
    y, native = untie(z, forward, rule), torch.relu(z)
    (gradient,) = torch.autograd.grad(y, z, torch.ones_like(y))
    for made in (y, gradient):
        assert type(made) is type(native)
        assert (made.device, made.dtype) == (z.device, z.dtype)
        assert (made.shape, made.stride()) == (z.shape, z.stride())


def without_values(pairs: Sequence[Pair]) -> Iterator[Part]:
    """The form of what comes of tensors that have no values, asked of ``pairs`` and of a callable."""
    every_pair = [*pairs, (torch.sin, "rectangular(-1, 1)"), (torch.sin, "tied")]
    yield from (Part(_form, (*pair, kind)) for pair, kind in product(every_pair, _WITHOUT_VALUES))


def _hooked(forward, rule, unpack):
    z = numbers(24).requires_grad_()
    with saved_tensors_hooks(lambda saved: saved, unpack):
        y = untie(z * 1, forward, rule)
    y.backward(torch.ones_like(y))
    return z.grad


def _elsewhere(forward, rule):
    def spread(saved):
        room = saved.new_zeros(*saved.shape, 3)
        room[..., 1] = saved
        return room[..., 1]

    assert torch.equal(_hooked(forward, rule, spread), _hooked(forward, rule, lambda saved: saved))


_CHANGES = {
    "shorter": lambda t: t[..., :1],
    "longer": lambda t: t.repeat(*[1] * (t.dim() - 1), 2),
    "dtype": lambda t: t.to(torch.int16),
    "device": lambda t: t.to("meta"),
}


def _changed(forward, rule, change):
    try:
        _hooked(forward, rule, _CHANGES[change])
    except KernelError as refusal:
        said = str(refusal)
    else:
        said = "not refused"
    assert "A saved-tensor hook must give back what it was given" in said, said


_KERNELS = {"numba": numba_cpu, "reference": reference}


def _bits(kernels, elements):
    gate, levels = _KERNELS[kernels].gate, _KERNELS[kernels].levels
    feedback = torch.ones(elements)
    bits = torch.arange((elements + 7) // 8, dtype=torch.uint8) * 37 + 5
    apart = bits.repeat_interleave(2)[::2]
    assert torch.equal(gate(feedback, apart, 1.0, 0.5), gate(feedback, bits, 1.0, 0.5)), "every other byte"
    codes = torch.stack([bits, bits ^ 255])
    values = (0.5, 1.0, 2.0, 3.0)
    turned = codes.t().contiguous().t()
    assert torch.equal(levels(feedback, turned, values), levels(feedback, codes, values)), "transposed codes"
    one = bits[:1].expand_as(bits)
    assert torch.equal(gate(feedback, one, 1.0, 0.5), gate(feedback, one.clone(), 1.0, 0.5)), "one byte"


def kept() -> Iterator[Part]:
    """Saved tensors that a hook exchanges for others, and bits that lie elsewhere."""
    for pair in (("heaviside", "rectangular"), ("gelu", "few_bit(3)"), ("tanh", "atan")):
        yield Part(_elsewhere, pair)
    pairs = (("heaviside", "rectangular"), ("gelu", "few_bit(3)"), ("heaviside", "atan"), ("relu", "positive_jam"))
    yield from (Part(_changed, (*pair, change)) for pair, change in product(pairs, _CHANGES))
    yield from (Part(_bits, case) for case in product(_KERNELS, (1, 7, 8, 9, 64)))
