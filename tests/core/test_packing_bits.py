"""Tensors that ``packed_activations`` packs, shares and restores, and the bytes that it leaves, measured."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tieless import Activation
from tieless.kernels import numba_cpu, reference
from tieless.packing import packed_activations

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
PATTERN = {
    torch.bool: np.uint8,
    torch.float16: np.uint16,
    torch.bfloat16: np.uint16,
    torch.float32: np.uint32,
    torch.float64: np.uint64,
}
SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Kept(TorchDispatchMode):
    """Counts the bytes of all storages made inside that something still keeps."""

    def __init__(self):
        super().__init__()
        self.made = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = [tensor.untyped_storage() for tensor in args if isinstance(tensor, torch.Tensor)]
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in given:
                self.made[weakref.ref(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        return out

    def bytes(self):
        return sum(nbytes for storage, nbytes in self.made.items() if storage() is not None)


def test_a_step_network_keeps_two_bits_an_activation():
    """By hand: the rule's window and the next layer's input, a bit each, and nothing of the float tensors."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(64, 64), Activation("heaviside", "rectangular(-1, 1)"))]
    model, x = nn.Sequential(*layers, nn.Linear(64, 1)), torch.randn(128, 64)
    kept = {}
    for context in (packed_activations, contextlib.nullcontext):
        with context(), _Kept() as made:
            loss = model(x).sum()
        kept[context] = made.bytes() - loss.nbytes
        loss.backward()
    assert kept[contextlib.nullcontext] == 4 * 128 * 64 * (1 / 8 + 4)
    assert kept[packed_activations] == 4 * 128 * 64 * (1 / 8 + 1 / 8)


@pytest.mark.parametrize("backward", [True, False])
def test_all_is_freed_with_the_graph_without_the_garbage_collector(backward):
    weight = torch.randn(2048, requires_grad=True)
    gc.disable()
    try:
        with packed_activations():
            with _Kept() as made:
                # `exp` keeps its output. Held as the tensor that it is, it would hold its node, and that the tensor.
                loss = (torch.randn(2048).sign() * weight).exp().sum()
            assert made.bytes() == 2048 / 8 + 2048 * 4 + loss.nbytes
            if backward:
                loss.backward()
            del loss
            assert made.bytes() == 0
    finally:
        gc.enable()


def test_statistics_count_unique_tensors_and_cannot_be_written():
    y, weights = torch.randn(64, 64).sign(), torch.randn(3, 64, 64, requires_grad=True)
    with packed_activations() as packed:
        assert str(packed) == "0 tensors packed: 0 bytes into 0"
        out = sum(y @ weight for weight in weights) + (y.t() @ weights[0]) + y.view(4096)[:64] @ weights[0]
    assert (packed.tensors, packed.bytes_before, packed.bytes_packed) == (1, 4 * 4096, 4096 // 8)
    assert str(packed) == "1 tensor packed: 16384 bytes into 512"
    assert repr(packed) == "PackedStatistics(tensors=1, bytes_before=16384, bytes_packed=512)"
    for name in ("tensors", "bytes_before", "bytes_packed"):
        with pytest.raises(AttributeError):
            setattr(packed, name, 0)
    out.sum().backward()


def test_pieces_and_versions_of_one_memory_are_told_apart():
    y, weight = torch.randn(64, 64).sign(), torch.ones(32, 64, requires_grad=True)
    expected = [y[:32].clone(), y[32:].clone(), y[::2].clone(), -y[:32]]
    with packed_activations() as packed:
        products = [y[:32] * weight, y[32:] * weight, y[::2] * weight]
        y.neg_()
        products.append(y[:32] * weight)
    assert packed.tensors == 4
    for product, values in zip(products, expected, strict=True):
        (gradient,) = torch.autograd.grad(product.sum(), weight)
        assert torch.equal(gradient, values)


def test_one_memory_as_two_dtypes_is_told_apart():
    y = torch.randn(2048).sign().half()
    with packed_activations() as packed:
        products = [
            saved * torch.ones(2048, dtype=saved.dtype, requires_grad=True) for saved in (y, y.view(torch.bfloat16))
        ]
    assert packed.tensors == 2
    for product, dtype in zip(products, (torch.float16, torch.bfloat16), strict=True):
        assert product.grad_fn._saved_self.dtype == dtype


def test_a_new_tensor_in_the_place_of_a_freed_one_is_not_taken_for_it():
    weight = torch.ones(1024, requires_grad=True)
    places, products = [], []
    with packed_activations() as packed:
        for seed in range(200):
            y = torch.randn(1024, generator=torch.Generator().manual_seed(seed)).sign()
            places.append(id(y.untyped_storage()))
            products.append(y * weight)
            del y
    assert len(set(places)) < len(places), "no place was used again: this shows nothing"
    assert packed.tensors == 200
    for seed, product in enumerate(products):
        (gradient,) = torch.autograd.grad(product.sum(), weight)
        assert torch.equal(gradient, torch.randn(1024, generator=torch.Generator().manual_seed(seed)).sign())


LAYOUTS = {
    "transposed": lambda t: t.t(),
    "channels last": lambda t: t.view(4, 4, 8, 16).to(memory_format=torch.channels_last),
    "rows with gaps": lambda t: t[:, 3:20],
    "every other": lambda t: t.t()[1::2, ::3],
    "one column": lambda t: t[:, :1],
    "expanded": lambda t: t[:, :1].unsqueeze(1).expand(32, 5, 7),
    "expanded and dense": lambda t: t.unsqueeze(1).expand(32, 3, 64),
    "one number, expanded": lambda t: t[0, :1].expand(99),
    "odd strides of single elements": lambda t: t.as_strided((64, 1, 32), (1, 7, 64)),
    "with an offset": lambda t: t.view(-1)[5:],
    "no dimensions": lambda t: t[0, 0],
}


@pytest.mark.parametrize("dtype", [*FLOATING, torch.bool])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_comes_back_is_what_was_saved(layout, dtype):
    saved = LAYOUTS[layout]((torch.arange(32 * 64) * 7 % 5 < 2).view(32, 64).to(dtype))
    with packed_activations(min_elements=1) as packed:
        out = (
            torch.where(saved, torch.ones((), requires_grad=True), 0.0)
            if dtype == torch.bool
            else (saved * torch.ones((), dtype=dtype, requires_grad=True))
        )
    node = out.grad_fn
    back = node._saved_condition if dtype == torch.bool else node._saved_self
    assert packed.tensors == 1
    assert back.untyped_storage().data_ptr() != saved.untyped_storage().data_ptr()
    assert (back.dtype, back.shape, back.stride()) == (saved.dtype, saved.shape, saved.stride())
    assert torch.equal(back, saved)


def _elements(dtype, patterns):
    array = np.array(patterns, dtype=np.uint64).astype(PATTERN[dtype])
    return torch.from_numpy(array).view(dtype)


def _patterns(elements):
    return elements.view(SIGNED[elements.element_size()]).numpy().view(PATTERN[elements.dtype]).tolist()


KERNELS = pytest.mark.parametrize("kernels", [reference, numba_cpu], ids=["reference", "numba"])


@KERNELS
@given(
    dtype=st.sampled_from(FLOATING),
    pair=st.tuples(*[st.integers(0, 2**64 - 1)] * 2),
    places=st.lists(st.booleans(), min_size=1, max_size=40),
    before=st.sampled_from([0, 1, 63, 64, 3001]),
)
def test_bits_stand_for_any_two_patterns(kernels, dtype, pair, places, before):
    """NaNs with payloads, zeros with signs: patterns are drawn as integers. Expected bits are written in Python."""
    mask = 2 ** (8 * dtype.itemsize) - 1
    given = [pair[0] & mask] * before + [pair[place] & mask for place in places]
    bits, low, high = kernels.two_values(_elements(dtype, given))
    assert low & mask == given[0]
    assert high & mask == next((pattern for pattern in given if pattern != given[0]), given[0])
    expected = [0] * ((len(given) + 7) // 8)
    for i, pattern in enumerate(given):
        expected[i // 8] |= (pattern != given[0]) << i % 8
    assert bits.dtype == torch.uint8
    assert bits.tolist() == expected
    assert _patterns(kernels.restore(bits, low, high, len(given), dtype)) == given


@KERNELS
@given(dtype=st.sampled_from(FLOATING), size=st.integers(3, 4000), data=st.data())
def test_a_third_pattern_anywhere_is_seen(kernels, dtype, size, data):
    elements = torch.arange(size).remainder(2).to(dtype)
    elements[data.draw(st.integers(2, size - 1))] = data.draw(st.sampled_from([-0.0, 0.5, -1.0, float("nan")]))
    assert kernels.two_values(elements)[0] is None


def _real():
    return torch.randn(64, 64)


NOT_PACKED = {
    "real numbers": _real,
    "real numbers with gaps": lambda: _real()[:, :33],
    "one real number at the end": lambda: torch.cat([torch.ones(4095), torch.tensor([0.5]), torch.zeros(1)]),
    "zeros of both signs and ones": lambda: torch.tensor([0.0, -0.0, 1.0]).repeat(2000),
    "windows that overlap": lambda: _real().sign().view(-1).unfold(0, 64, 1),
    "windows that overlap by one": lambda: _real().sign().view(-1).unfold(0, 64, 63),
    "negated lazily": lambda: torch.complex(_real(), _real().sign()).conj().imag,
    "too few": lambda: torch.ones(1023),
    "few, expanded": lambda: torch.ones(64, 1).expand(64, 64),
    "none": lambda: torch.ones(0, 64),
    "a parameter": lambda: torch.ones(64, 64, requires_grad=True),
    "a subclass": lambda: _real().sign().as_subclass(type("Mine", (torch.Tensor,), {})),
    "no values": lambda: torch.ones(64, 64, device="meta"),
}


@pytest.mark.parametrize("case", NOT_PACKED)
def test_anything_else_is_kept_as_it_is(case):
    saved = NOT_PACKED[case]()
    with packed_activations() as packed:
        out = saved * torch.ones((), requires_grad=True, device=saved.device)
    assert packed.tensors == 0
    node = out.grad_fn
    while not hasattr(node, "_saved_self"):
        node = node.next_functions[0][0]
    back = node._saved_self
    assert back.untyped_storage()._cdata == saved.untyped_storage()._cdata
    assert (back.shape, back.stride(), back.storage_offset()) == (saved.shape, saved.stride(), saved.storage_offset())


@pytest.mark.parametrize("case", ["real numbers", "real numbers with gaps"])
def test_real_numbers_are_not_read_in_full(case):
    saved, factor = NOT_PACKED[case](), torch.ones((), requires_grad=True)
    with packed_activations(), _Kept() as made:
        _ = saved * factor
    assert sum(nbytes >= saved.numel() for nbytes in made.made.values()) == 1, "the product itself"


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors_are_kept(layout):
    sparse, weight = torch.eye(64).to_sparse(layout=layout), torch.randn(64, 64, requires_grad=True)
    with packed_activations(min_elements=1) as packed:
        out = torch.sparse.mm(sparse, weight)
    assert packed.tensors == 0
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert torch.equal(gradient, torch.ones(64, 64))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_kept():
    saved, factor = (
        torch.nested.nested_tensor([torch.ones(64, 64), torch.zeros(32, 64)]),
        torch.ones((), requires_grad=True),
    )
    with packed_activations() as packed:
        out = saved * factor
    assert packed.tensors == 0
    assert torch.equal(out.grad_fn._saved_self.to_padded_tensor(2), saved.to_padded_tensor(2))
