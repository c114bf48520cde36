"""The CUDA kernels agree with the reference bit for bit: interpreted everywhere, and on a GPU where there is one.

What the interpreter cannot show is read from the code that Triton makes for a GPU: it makes it without one.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.kernels.test_agreement import (
    DTYPES,
    LAYOUTS,
    PARAMETERS,
    SLOPE_PARAMETERS,
    WINDOWS,
    _bits,
    _laid_out_like,
    _same,
    _tensor,
)
from tests.kernels.test_philox import KNOWN_ANSWERS
from tieless.errors import KernelError
from tieless.kernels import numba_cpu, reference
from tieless.kernels.elementwise import TOLERANCES
from tieless.ops import dispatch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget

from tests.kernels import interpreter
from tieless.kernels import triton_bodies, triton_cuda, triton_elementwise

SIZES = [0, 1, 7, 9, 24, 30, 1023, 1024, 1025, 2600, 600]
# What a GPU's shortcuts would get wrong: subnormals, halves, and the numbers at which all are whole.
DELICATE = [1e-40, -1e-40, 0.5, 1.5, 2.5, -0.3, 0.49999997, 8388607.5, 8388609.0, 4503599627370497.0, 1e30, -1e30]
WINDOW = (-0.5, 0.5, False, True)
KEYS = [0, -1, 77, 2**31, 2**32 + 5, -(2**63), 123456789123456789]


@pytest.fixture(scope="session", params=["interpreted", "GPU"][: 1 + torch.cuda.is_available()])
def call(request):
    if request.param == "GPU":
        yield interpreter.on_gpu
        return
    process = interpreter.Interpreter()
    yield process
    process.close()


def _cases(first=0, one_in=1):
    """Every layout in every dtype, in one of the sizes; ``first`` says which of them meet.

    The interpreter is slow, and a kernel that applies one of several functions sees the same dtypes and layouts with each.
    So such a function has ``one_in`` so many of the cases, another ``first`` has others.
    """
    sizes = itertools.islice(itertools.cycle(SIZES), first, None)
    for number, ((dtype, layout), size) in enumerate(zip(itertools.product(DTYPES, LAYOUTS), sizes, strict=False)):
        if (number + first) % one_in == 0:
            yield _tensor(size, dtype, layout, seed=size)


def _delicate(dtype):
    return torch.tensor(DELICATE, dtype=torch.float64).to(dtype)


def test_every_function_of_the_reference_has_a_kernel():
    assert triton_elementwise.FORWARDS.keys() | triton_cuda.NATIVE == reference.FORWARDS.keys()
    assert not triton_elementwise.FORWARDS.keys() & triton_cuda.NATIVE
    assert triton_elementwise.SLOPES.keys() == reference.SLOPES.keys()


# Values.


def _near(y, z, function):
    """PyTorch's own, each device's its own; for an infinite z the CPU's gives NaN where z is contiguous."""
    usual = z.abs() < 1e4
    expected = reference.FORWARDS[function](z.double()).to(z.dtype)
    torch.testing.assert_close(y[usual], expected[usual], atol=2e-6, rtol=2 * torch.finfo(z.dtype).eps)


@pytest.mark.parametrize("function", PARAMETERS)
def test_activate(call, function):
    cases = itertools.chain(_cases(list(PARAMETERS).index(function), one_in=4), map(_delicate, DTYPES))
    for z, window in zip(cases, itertools.cycle([WINDOW, None, WINDOW]), strict=False):
        arguments = (z, function, PARAMETERS[function], window)
        (y, bits), (expected, expected_bits) = call("activate", *arguments), reference.activate(*arguments)
        if function in triton_cuda.NATIVE:
            _near(y, z, function)
        else:
            _same(y, expected)
        _laid_out_like(y, z)
        if window:
            _same(bits, expected_bits)
        else:
            assert bits is expected_bits is None


def test_window_bits(call):
    windows = itertools.cycle(
        (*edges, *closed) for edges in WINDOWS for closed in itertools.product([False, True], repeat=2)
    )
    for z, window in zip(itertools.chain(_cases(), _cases(5)), windows, strict=False):
        _same(call("window_bits", z, *window), reference.window_bits(z, *window))


@pytest.mark.parametrize("boundaries", [[0.5], [-0.5, 0.0, 1.0], [place / 8 for place in range(-7, 8)]])
def test_codes_and_levels(call, boundaries):
    values = [0.0, *(0.3 * place - 1 for place in range(len(boundaries)))]
    for z in _cases(len(boundaries)):
        even = z.numel() % 2 == 1
        packed = reference.codes(z, boundaries, even)
        _same(call("codes", z, boundaries, even), packed)
        sent = call("levels", z, packed, values)
        _same(sent, reference.levels(z, packed, values))
        _laid_out_like(sent, z)


@pytest.mark.parametrize("function", ["relu", "gelu"])
def test_activate_codes(call, function):
    for z in _cases():
        y, packed = call("activate_codes", z, function, (), [-0.5, 0.0, 1.0], False)
        if function in triton_cuda.NATIVE:
            _near(y, z, function)
        else:
            _same(y, reference.FORWARDS[function](z))
        _laid_out_like(y, z)
        _same(packed, reference.codes(z, [-0.5, 0.0, 1.0], False))


@pytest.mark.parametrize(("inside", "outside"), [(1.0, 0.0), (0.0, 1 / 6), (1 / 3, -2.0)])
def test_gate(call, inside, outside):
    for grad in _cases(int(9 * inside)):
        arguments = (grad, _bits(grad), inside, outside)
        sent = call("gate", *arguments)
        _same(sent, reference.gate(*arguments))
        _laid_out_like(sent, grad)


@pytest.mark.parametrize("function", SLOPE_PARAMETERS)
def test_slope(call, function):
    """A function that only comes near to the reference is that of the CPU kernels, bit for bit."""
    judge = numba_cpu if function in TOLERANCES else reference
    for grad in itertools.chain(_cases(list(SLOPE_PARAMETERS).index(function), one_in=4), map(_delicate, DTYPES)):
        value = torch.empty_like(grad).copy_(grad.flip(0)) if grad.numel() % 2 else grad.flip(0)
        arguments = (grad, value, function, SLOPE_PARAMETERS[function])
        sent = call("slope", *arguments)
        _same(sent, judge.slope(*arguments))
        _laid_out_like(sent, grad)


# Random numbers.


def _word(text):
    return int(text, 16)


def _signed(number):
    return number - 2**64 if number >= 2**63 else number


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_philox(call, counter, key, answer):
    """The block number is the first two words of the counter, stream and draw are the others."""
    low, high, stream, draw = map(_word, counter.split())
    key0, key1 = map(_word, key.split())
    block = torch.tensor([_signed(high << 32 | low)])
    words = call("words", block, _signed(key1 << 32 | key0), stream, draw)
    assert words.flatten().tolist() == [_word(word) for word in answer.split()]


def test_uniform(call):
    for like, key, stream in zip(_cases(), itertools.cycle(KEYS), itertools.cycle([0, 1, 2, 5]), strict=False):
        arguments = (like, torch.tensor(key) if stream else key, stream, stream % 3)
        numbers = call("uniform", *arguments)
        _same(numbers, reference.uniform(*arguments))
        _laid_out_like(numbers, like)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (0.1, 0.3), (1.0, 1.0 + 2**-23)])
def test_jam(call, limits):
    ways = itertools.cycle(
        (key, *way)
        for key, way in zip(KEYS * 4, [(False, False), (False, True), (True, False), (True, True)] * 7, strict=True)
    )
    for grad, (key, magnitude, gated) in zip(_cases(int(9 * limits[1])), ways, strict=False):
        arguments = (grad, key, 1, *limits, magnitude, _bits(grad) if gated else None)
        sent = call("jam", *arguments)
        _same(sent, reference.jam(*arguments))
        _laid_out_like(sent, grad)


@settings(max_examples=30)
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=6), data=st.data())
def test_random_numbers_follow_the_logical_order_in_every_layout(call, shape, data):
    order = data.draw(st.permutations(range(len(shape))))
    inverse = [order.index(dim) for dim in range(len(shape))]
    grad = torch.randn([shape[dim] for dim in order]).permute(inverse)
    _same(call("jam", grad, 3, 0, 0.0, 1.0, False, None), reference.jam(grad, 3, 0, 0.0, 1.0, False, None))


# Sizes.


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_lies_in_memory_is_the_key(call, key):
    places = torch.tensor([5, key, 6])
    for layout in ("plain", "channels last"):
        z = _tensor(240, torch.float32, layout)
        _same(call("held", "uniform", z, places, 3, 1), reference.uniform(z, key, 3, 1))
        jammed = call("held", "jam", z, places, 2, 0.1, 0.9, False, _bits(z))
        _same(jammed, reference.jam(z, key, 2, 0.1, 0.9, False, _bits(z)))


def test_many_elements(call):
    """With larger blocks for the interpreter, which takes as long for a small one; a compiler would take for ever."""
    z = _tensor(2**22 + 3, torch.float32)
    large = {} if call is interpreter.on_gpu else {"_BLOCK": 2**19}
    arguments = (z, "three_level", PARAMETERS["three_level"], WINDOW)
    y, bits = reference.activate(*arguments)
    for result, expected in zip(call("activate", *arguments, **large), (y, bits), strict=True):
        _same(result, expected)
    arguments = (z, -5, 0, 0.0, 1.0, False, bits)
    _same(call("jam", *arguments, **large), reference.jam(*arguments))


def test_numbers_of_64_bits_where_32_are_too_few(call):
    """No such tensor fits here, so the border is moved below the size of one that does."""
    wide = {"_NARROW": 0}
    for layout in LAYOUTS:
        z = _tensor(2600, torch.float32, layout)
        bits = _bits(z)
        for name, *arguments in [
            ("activate", "relu", (), WINDOW),
            ("codes", [-0.5, 0.0, 1.0], False),
            ("levels", reference.codes(z, [-0.5, 0.0, 1.0], False), [0.1, 0.2, 0.3, 0.4]),
            ("gate", bits, 1.0, 0.5),
            ("uniform", 8, 0, 1),
            ("jam", 8, 0, 0.0, 1.0, False, bits),
        ]:
            results, expected = call(name, z, *arguments, **wide), getattr(reference, name)(z, *arguments)
            if isinstance(results, tuple):
                for one, other in zip(results, expected, strict=True):
                    _same(one, other)
            else:
                _same(results, expected)


# Dispatch.


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        ("heaviside", "rectangular"),
        ("relu", "full_jam"),
        ("relu", "positive_jam"),
        ("sign", "atan"),
        ("gelu", "regelu2"),
    ],
)
def test_untie_by_triton_is_untie(call, forward, backward):
    for layout in ("plain", "channels last", "sliced"):
        z, feedback = (_tensor(240, torch.float32, layout, seed) for seed in (1, 2))
        y, sent, kernels = call("gradient", forward, backward, z, feedback, 7)
        expected, expected_sent, _ = interpreter.gradient(forward, backward, z, feedback, 7)
        assert kernels == triton_cuda.__name__
        usual = z.isfinite() if forward == "gelu" else torch.ones_like(z, dtype=torch.bool)  # see _near
        torch.testing.assert_close(y[usual], expected[usual], equal_nan=True)
        _same(sent, expected_sent)


PROGRAM = """
import json, sys, torch
if {hidden}:
    sys.modules["triton"] = None
from tieless.ops import dispatch
chosen = dispatch.choose(torch.ones(1)).__name__
print(json.dumps([chosen, "triton" in sys.modules and not {hidden}, dispatch.TRITON.refusals(torch.float32, "cuda")]))
"""


@pytest.mark.parametrize("hidden", [False, True], ids=["with triton", "without triton"])
def test_a_cpu_never_gets_triton_unasked(hidden):
    environment = {name: value for name, value in os.environ.items() if name != "TIELESS_KERNELS"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(hidden=hidden)],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    chosen, imported, refusals = json.loads(ended.stdout)
    assert chosen == numba_cpu.__name__
    assert not imported
    assert len(refusals) == hidden
    assert not hidden or "triton" in refusals[0]


def test_triton_asked_for_by_name_refuses_the_cpu(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TIELESS_KERNELS", "triton")
    try:
        dispatch.candidates.cache_clear()
        dispatch.choose_for.cache_clear()
        with pytest.raises(KernelError, match="triton: runs on cuda only"):
            dispatch.choose(torch.ones(1))
    finally:
        monkeypatch.undo()
        dispatch.candidates.cache_clear()
        dispatch.choose_for.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs to be without a CUDA device")
def test_a_gpu_that_fails_is_a_refusal():
    (reason,) = dispatch.TRITON.refusals(torch.float32, "cuda")
    assert "failed" in reason


def test_an_old_triton_is_a_refusal(monkeypatch):
    monkeypatch.setattr(triton_elementwise, "VERSION", (3, 3))
    assert dispatch.TRITON.refusals(torch.float32, "cuda") == ["needs triton 3.4 or newer, got 3.3"]


# The code for a GPU.


class _AbsentGPU:
    """As much of a driver as a compiler needs."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return "absent"  # not the number of one that is there: its kernels stay in memory

    def get_current_stream(self, _device):
        return 0


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Kernels that each launch would have started, compiled for a GPU and not started."""
    kernels = []
    kind = type(triton_bodies.gate)
    run = kind.run

    def compile_only(self, *arguments, grid, warmup, **options):
        kernels.append(run(self, *arguments, grid=grid, warmup=True, **options))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kind, "run", compile_only)
    monkeypatch.setattr("triton.runtime.jit.driver", SimpleNamespace(active=_AbsentGPU()))
    return kernels


def _launch_all(dtype):
    z = _tensor(4096, dtype)
    bits = _bits(z)
    for function, parameters in PARAMETERS.items():
        triton_cuda.activate(z, function, parameters, WINDOW)
    for function, parameters in SLOPE_PARAMETERS.items():
        triton_cuda.slope(z, z, function, parameters)
    triton_cuda.activate(z, "relu", (), None)
    triton_cuda.window_bits(z, *WINDOW)
    triton_cuda.codes(z, [-0.5, 0.0, 1.0], True)
    triton_cuda.levels(z, bits[None], [0.1, 0.3])
    triton_cuda.gate(z, bits, 1.0, 0.5)
    triton_cuda.uniform(z, 1, 0, 0)
    triton_cuda.jam(z, 1, 0, 0.0, 1.0, False, None)
    triton_cuda.jam(z, 1, 0, 0.0, 1.0, True, bits)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs Triton to compile")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_gpu_rounds_every_product_sum_and_quotient_as_ieee_754_does(compiled, dtype):
    """No product fused with a sum, no subnormal taken for 0, nothing approximated."""
    _launch_all(dtype)
    for kernel in compiled:
        assert not re.findall(r"\b(?:fma|mad\.rn|\S+\.ftz|\S+\.approx|\S+\.full)\b\S*", kernel.asm["ptx"]), kernel.name


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs Triton to compile")
@pytest.mark.parametrize("layout", ["plain", "channels last"])
def test_another_key_stream_range_or_batch_is_no_other_kernel(compiled, layout):
    for key, batch in itertools.product([0, 1, -1, 2**31, -(2**63)], [16, 20, 800]):
        grad = _tensor(12 * batch, torch.float32, layout)
        triton_cuda.jam(grad, key, 1 + key % 3, 0.1, 0.3 + key % 5, False, None)
    assert len(set(map(id, compiled))) == 1


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs Triton to compile")
def test_a_key_in_another_place_is_no_other_kernel(compiled, monkeypatch):
    keys = torch.zeros(3, dtype=torch.int64)
    for key in keys:
        monkeypatch.setattr(triton_cuda, "_key_words", lambda _, key=key: (key, 0, 0))
        triton_cuda.jam(_tensor(240, torch.float32), 0, 1, 0.1, 0.3, False, None)
    assert len(set(map(id, compiled))) == 1
    assert "ld.global.b64" in compiled[0].asm["ptx"] or "ld.global.u64" in compiled[0].asm["ptx"]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs Triton to compile")
@pytest.mark.parametrize("layout", ["plain", "channels last"])
def test_places_are_computed_in_64_bits_where_32_are_too_few(compiled, monkeypatch, layout):
    """Of a tensor with so many elements only the code is looked at."""
    multiplications = []
    for narrow in (0, 2**31):
        monkeypatch.setattr(triton_cuda, "_NARROW", narrow)
        z = _tensor(4080, torch.float32, layout)
        triton_cuda.codes(z, [0.0], False)
        triton_cuda.jam(z, 1, 0, 0.0, 1.0, False, _bits(z))
        multiplications.append(
            re.findall(r"arith\.muli .*\bi32\b|arith\.muli .*xi32\b", "".join(k.asm["ttir"] for k in compiled))
        )
        compiled.clear()
    wide, narrow = multiplications
    assert narrow
    assert not wide


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="needs Triton to compile")
def test_bfloat16_is_rounded_by_the_gpu(compiled):
    """The interpreter is given other code, since it cuts bits off."""
    triton_cuda.gate(_tensor(4096, torch.bfloat16), torch.empty(512, dtype=torch.uint8), 0.3, 0.1)
    assert "cvt.rn.bf16x2.f32" in compiled[0].asm["ptx"]
