"""Compiled code: it keeps no more than eager code does, and its bits in eighths mean what those of the reference do."""

import math
import re
from dataclasses import dataclass

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tests.core.kept import kept_compiled, kept_eager
from tests.pairs import asked
from tieless import Activation, Rule, untie
from tieless.errors import KernelError
from tieless.kernels import fused, reference
from tieless.ops import fusing, inductor
from tieless.slopes import Window

pytestmark = pytest.mark.filterwarnings("ignore")  # of the compiler's own

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LAYOUTS = {
    "matrix": lambda dtype: torch.randn(16, 9).to(dtype),
    "few rows": lambda dtype: torch.randn(3, 4, 6).to(dtype),
    "row": lambda dtype: torch.randn(24).to(dtype),
    "transposed": lambda dtype: torch.randn(9, 16).to(dtype).t(),
    "channels last": lambda dtype: torch.randn(4, 6, 3, 5).to(dtype).to(memory_format=torch.channels_last),
    "gaps": lambda dtype: torch.randn(16, 18).to(dtype)[:, ::2],
    "special": lambda dtype: torch.tensor([[-0.5, 0.5, 0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1.0]]).to(dtype),
}
EDGES = (-0.5, 0.5, False, True)
STEPS = ((-1.0, 0.0, 0.5), False)
VALUES = (0.0, 0.25, 1.0, -1.0)


@pytest.fixture
def known():
    """The Inductor that knows the operators on bits in eighths."""
    import torch._inductor.compile_fx  # loads the compiler  # noqa: F401

    assert inductor.is_loaded()


@pytest.fixture
def forced(monkeypatch):
    """Set TIELESS_COMPILED for this test alone: it is read once."""

    def force(name):
        monkeypatch.setenv("TIELESS_COMPILED", name)
        fusing.forced.cache_clear()
        torch._dynamo.reset()

    yield force
    monkeypatch.undo()
    fusing.forced.cache_clear()
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bits_in_eighths_gate_as_those_of_the_reference(layout, dtype):
    torch.manual_seed(0)
    z = LAYOUTS[layout](dtype)
    feedback = torch.randn_like(z)
    feedback.select(0, 0).fill_(torch.inf)
    assert fused.accepts(z)
    bits, codes = fused.window_bits(z, *EDGES), fused.codes(z, *STEPS)
    assert (bits.dtype, bits.numel(), codes.numel()) == (torch.uint8, z.numel() // 8, z.numel() // 4)
    assert fused.holds(bits)
    assert fused.holds(codes)
    for slopes in ((1.0, 0.0), (0.5, -2.0), (0.0, 0.0)):
        expected = reference.gate(feedback, reference.window_bits(z, *EDGES), *slopes)
        same(fused.gate(feedback, bits, *slopes), expected)
        same(fused.gate_at(feedback, z, EDGES, slopes), expected)
    expected = reference.levels(feedback, reference.codes(z, *STEPS), VALUES)
    same(fused.levels(feedback, codes, VALUES), expected)
    same(fused.levels_at(feedback, z, STEPS, VALUES), expected)


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(3, 5), (0, 8), ()])
def test_elements_without_eighths_keep_the_operator(shape):
    assert not fused.accepts(torch.zeros(shape))


def test_compiled_code_keeps_no_more_than_eager_code(kept_pair, known, forced):
    forced("fused")
    assert kept_compiled(kept_pair) <= kept_eager(kept_pair)


def gradient(function, z, feedback):
    leaf = z.detach().clone().requires_grad_()
    torch.manual_seed(0)
    return torch.autograd.grad(function(leaf), leaf, feedback)[0]


def written(function, z, feedback):
    """Gradient of a function that Inductor compiles, and the code that it writes."""
    from torch._inductor.utils import run_and_get_code  # loads the compiler

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=False)
    found, sources = run_and_get_code(lambda: gradient(compiled, z, feedback))
    return found, "".join(sources)


PAIRS = {
    "window": ("relu", "rectangular"),
    "codes": ("tanh", "few_bit(2)"),
    "gated jam": ("relu", "positive_jam"),
    "chain": ("relu", "tied >> full_jam"),
}


@pytest.mark.parametrize("form", fusing.FORMS)
@pytest.mark.parametrize("pair", PAIRS)
def test_in_either_form_inductor_sends_what_eager_code_sends(pair, form, known, forced):
    forced(form)
    z, feedback = torch.randn(16, 24), torch.randn(16, 24)
    found, code = written(lambda z: untie(z * 2, *PAIRS[pair]), z, feedback)
    assert torch.equal(found, gradient(lambda z: untie(z * 2, *PAIRS[pair]), z, feedback))
    operators = ("window_bits", "codes", "gate", "levels", "jam", "uniform")
    assert any(f"torch.ops.tieless.{name}" in code for name in operators) == (form == "operators")
    assert "bool*" not in code


def test_bits_are_an_eighth_of_a_byte_and_none_where_the_forward_pass_is_computed_again(known):
    z, feedback = torch.randn(16, 24), torch.randn(16, 24)

    def call(z):
        return untie(z * 2, "relu", "rectangular")

    found, stored = written(call, z, feedback)
    sizes = re.findall(r"empty_strided_cpu\(\(([\d, ]+)\), \([\d, ]+\), torch\.uint8\)", stored)
    assert {math.prod(map(int, re.findall(r"\d+", size))) for size in sizes} == {16 * 24 // 8}
    again, recomputed = written(lambda z: checkpoint(call, z, use_reentrant=False), z, feedback)
    assert "uint8" not in recomputed
    assert "tieless." not in re.sub("# .*", "", stored + recomputed)
    assert torch.equal(again, found)


def test_a_rule_that_reads_bits_itself_has_them_in_order(known):
    @dataclass(frozen=True)
    class Read(Rule):
        linear = True

        def needs(self, forward):
            return Window(-0.5, 0.5)

        def feedback(self, grad_output, kept, random):
            return grad_output * reference.unpack_bits(kept, grad_output)

    z, feedback = torch.randn(16, 24), torch.randn(16, 24)
    rule = Read()
    found, _ = written(lambda z: untie(z, "relu", rule), z, feedback)
    assert torch.equal(found, gradient(lambda z: untie(z, "relu", "rectangular"), z, feedback))


def test_a_transform_in_compiled_code_gives_each_example_its_own_bits(known):
    z = torch.randn(3, 8)

    def loss(z):
        return untie(z, "relu", "rectangular").square().sum()

    for transformed in (
        torch.func.vmap(torch.func.grad(loss)),
        torch.func.jacrev(lambda z: untie(z, "relu", "rectangular")),
    ):
        torch._dynamo.reset()
        same(torch.compile(transformed)(z), transformed(z))


@pytest.mark.parametrize("pair", [*PAIRS.values(), ("heaviside", "atan"), ("gelu", "regelu2")], ids=" + ".join)
def test_frames_and_graphs_are_as_many_as_with_native_relu(pair):
    """Also where a batch of another size comes, and where it is compiled anew for all sizes."""
    from torch._dynamo.utils import counters  # loads the compiler

    found = []
    for activation in (torch.nn.ReLU(), Activation(*pair)):
        torch._dynamo.reset()
        counters.clear()
        network = torch.nn.Sequential(torch.nn.Linear(8, 8), activation, torch.nn.Linear(8, 8), activation)
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
        for batch in (4, 4, 6, 10):
            compiled(torch.randn(batch, 8)).sum().backward()
        found.append((dict(counters["frames"]), counters["stats"]["unique_graphs"], dict(counters["graph_break"])))
    assert found[0][1] == 2
    assert found[0] == found[1]


def test_a_name_that_is_no_form_is_refused(forced):
    forced("fuse")
    with pytest.raises(KernelError, match=r"TIELESS_COMPILED: Unknown form 'fuse'. Did you mean 'fused'\?"):
        fusing.is_fused("bits", torch.float32, "cpu")


def pytest_generate_tests(metafunc):
    if "kept_pair" in metafunc.fixturenames:
        metafunc.parametrize("kept_pair", asked(metafunc.config, "kept when compiled", 40), ids=" + ".join)
