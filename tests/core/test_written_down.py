"""Guarantee 2 for programs that leave Python: whole modules through ``torch.export``, ONNX, ``torch.jit.trace`` and script.

The matrix (``tests/matrix/exporting.py``) asks the same of every forward with every rule.
"""

import io
import logging

import pytest
import torch
from torch import nn

import tieless as tl
from tests.alone import run_alone
from tieless.errors import TransformError
from tieless.nn import LIF, BinaryLinear, LearnableActivation, QuantLinear, TernaryLinear

# Torch's own, as in the matrix: some of these ways are deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning"),
]


class _Calls(nn.Module):
    """Activations as functions, for a conversion to untie."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return torch.relu(self.layer(x)) * nn.functional.gelu(x)


class _Spikes(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = LIF(0.5, threshold=0.2)

    def forward(self, x):
        spikes, v = self.cell(x)
        return self.cell(spikes, v)[0]


class _Function(nn.Module):
    def forward(self, x):
        return tl.untie(x, "sign", "rectangular(-1, 1)")


class _Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(tl.Activation("sign", "rectangular(-1, 1)"), nn.Linear(6, 3))

    def forward(self, x):
        with tl.packed_activations(min_elements=1):
            return self.inner(x)


def _layers():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


NETWORKS = {
    "activation": lambda: tl.Activation("relu", "full_jam"),
    "callable": lambda: tl.Activation(torch.sin, "constant"),
    "function": _Function,
    "lif": _Spikes,
    "learnable": lambda: LearnableActivation("sign", "erf(2)"),
    "binary": lambda: nn.Sequential(BinaryLinear(6, 4), tl.Activation("sign", "rectangular(-1, 1)")),
    "ternary": lambda: nn.Sequential(TernaryLinear(6, 4), tl.Activation("ternary", "constant")),
    "quantised": lambda: nn.Sequential(QuantLinear(6, 4, bits=4), tl.Activation("gelu", "few_bit(3)")),
    "packed": _Packed,
    "fa": lambda: tl.convert_feedback(_layers(), "fa"),
    "dfa": lambda: tl.convert_feedback(_layers(), "dfa"),
    "converted modules": lambda: tl.convert(_layers(), backward="full_jam"),
    "converted calls": lambda: tl.convert(_Calls(), backward="full_jam"),
}


def _exported(net, x, **options):
    program = torch.export.export(net, (x,), **options)
    assert "tieless" not in str(program.graph)
    return program.module()


def _traced(net, x):
    saved = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, x), saved)
    saved.seek(0)
    return torch.jit.load(saved)


def _onnx(net, x, *, dynamo):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    written = io.BytesIO()
    torch.onnx.export(net, (x,), written, dynamo=dynamo, verbose=False)
    session = onnxruntime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    return lambda z: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: z.detach().numpy()})[0])


WAYS = {
    "export": _exported,
    "strict export": lambda net, x: _exported(net, x, strict=True),
    "trace": _traced,
    "onnx": lambda net, x: _onnx(net, x, dynamo=True),
    "older onnx": lambda net, x: _onnx(net, x, dynamo=False),
}


# The newer exporter to ONNX begins with torch.export, so what is asked of all there is asked of some here.
ASKED = [(name, way) for name in NETWORKS for way in WAYS if way != "onnx" or name in {"lif", "quantised", "fa"}]


@pytest.mark.parametrize(("name", "way"), ASKED)
def test_the_forward_is_written_down_and_no_other_gradient(name, way):
    net, x = NETWORKS[name](), torch.randn(4, 6)
    written = WAYS[way](net.eval(), x)
    z = x.clone().requires_grad_()
    y = written(z)
    torch.testing.assert_close(y.detach(), net(x).detach(), rtol=1e-5, atol=1e-6)
    if name == "quantised" or not y.requires_grad:
        return
    # Weights above the last activation learn on; what lies below the first has no gradient, rather than a wrong one.
    (sent,) = torch.autograd.grad(y.sum(), z, allow_unused=True)
    assert sent is None


def test_what_is_tied_keeps_the_derivative_in_a_trace():
    z = torch.randn(4, 6, requires_grad=True)
    _traced(tl.Activation("gelu", "tied"), z.detach())(z).sum().backward()
    (expected,) = torch.autograd.grad(nn.functional.gelu(z).sum(), z)
    torch.testing.assert_close(z.grad, expected)


def test_a_trace_runs_where_there_is_no_tieless(tmp_path):
    net, x = nn.Sequential(NETWORKS["binary"](), NETWORKS["lif"]()), torch.randn(4, 6)
    torch.jit.trace(net, x).save(str(tmp_path / "net.pt"))
    torch.save(x, tmp_path / "x.pt")
    program = f"""
import sys
sys.modules["tieless"] = None
import torch
y = torch.jit.load({str(tmp_path / "net.pt")!r})(torch.load({str(tmp_path / "x.pt")!r}))
torch.save(y, {str(tmp_path / "y.pt")!r})
"""
    run_alone(program, warnings="ignore")
    assert torch.equal(torch.load(tmp_path / "y.pt"), net(x))


def test_a_trace_draws_numbers_of_its_own():
    act = tl.Activation("bernoulli", "constant")
    traced = torch.jit.trace(act, torch.zeros(1000), check_trace=False)
    first, second = traced(torch.zeros(1000)), traced(torch.zeros(1000))
    assert not torch.equal(first, second)
    assert abs(first.mean() - 0.5) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_script_is_refused_in_one_line(name):
    # Of a module that calls a function which it cannot compile, PyTorch keeps the half that it has read.
    for _ in range(1 if name == "function" else 2):
        with pytest.raises(TransformError, match=r"torch\.jit\.script .* use torch\.export") as refusal:
            torch.jit.script(NETWORKS[name]())
        assert "\n" not in str(refusal.value)


def _scripted(x: torch.Tensor) -> torch.Tensor:
    return tl.untie(x, "sign", "constant")


def test_script_is_refused_in_a_function():
    with pytest.raises(TransformError, match=r"torch\.jit\.script"):
        torch.jit.script(_scripted)


def test_a_reverted_model_is_scripted_as_before():
    net, x = tl.convert(_Calls(), backward="full_jam"), torch.randn(4, 6)
    assert torch.equal(torch.jit.script(tl.revert(net))(x), net(x))
