"""Programs that leave Python: the forward goes with them."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, fx, nn

from tests.matrix.asking import Check, Outcomes, compared, each, gradient, in_graphs, input_of
from tests.pairs import Pair
from tieless import Activation

__all__ = ["CHECKS"]


CERTAIN = 1e4
"""An exported program draws numbers of its own. So far from 0 a forward that draws has no choice."""


class _Network(nn.Module):
    """Each pair beside the others, so that one program holds all."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        super().__init__()
        self.acts = nn.ModuleList(Activation(*pair) for pair in pairs)

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        return tuple(act(CERTAIN * z if act.forward_fn.draws else z) for act in self.acts)


def _of_program(program: Callable[[Tensor], Sequence[Tensor]], net: _Network, pairs: Sequence[Pair]) -> Outcomes:
    """The values; and no gradient, where the program would send another than the rule's."""
    z = input_of().requires_grad_()
    answers = {}
    for pair, got, expected in zip(pairs, program(z), net(z), strict=True):
        answers[pair] = compared(got, expected)
        if got.requires_grad and pair[1] != "tied":
            answers[pair] = "a gradient that is not the rule's"
    return answers


def _export(pairs: Sequence[Pair]) -> Outcomes:
    net = _Network(pairs)
    program = torch.export.export(net, (input_of(),))
    if "tieless" in str(program.graph):
        raise AssertionError("an operator of ours, which the program's runtime does not have")
    return _of_program(program.module(), net, pairs)


def _jit_trace(pairs: Sequence[Pair]) -> Outcomes:
    net, saved = _Network(pairs), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        # A program that draws has other numbers the second time, which is what the check of a trace complains of.
        torch.jit.save(torch.jit.trace(net, (input_of(),), check_trace=False), saved)
        saved.seek(0)
        return _of_program(torch.jit.load(saved), net, pairs)


def _onnx(pairs: Sequence[Pair], *, dynamo: bool) -> Outcomes:
    import onnxruntime

    net, z, written = _Network(pairs), input_of(), io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        if not dynamo:
            warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(net, (z,), written, dynamo=dynamo, verbose=False)
    session = onnxruntime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: z.numpy()})
    return {pair: compared(torch.from_numpy(one), other) for pair, one, other in zip(pairs, got, net(z), strict=True)}


def _no_onnx() -> str:
    return "" if find_spec("onnxruntime") and find_spec("onnxscript") else "needs onnxruntime and onnxscript"


def _symbolic_trace(forward: str, rule: str) -> str:
    net = nn.Sequential(Activation(forward, rule), nn.Hardtanh(-9, 9), Activation(forward, rule))
    return compared(gradient(fx.symbolic_trace(net), input_of()), gradient(net, input_of()))


CHECKS = (
    Check(
        "export",
        "`torch.export`: the values. An exported program has no place for a rule; its gradient is cut off, "
        "never another one. A forward that draws is compared where chance has no say: the program draws its own numbers",
        _export,
    ),
    Check(
        "ONNX",
        "`torch.onnx.export(dynamo=True)`: the values, as onnxruntime computes them",
        in_graphs(partial(_onnx, dynamo=True)),
        most=20,
        missing=_no_onnx,
    ),
    Check(
        "ONNX (older)",
        "`torch.onnx.export(dynamo=False)`, PyTorch's default until 2.8: the same",
        in_graphs(partial(_onnx, dynamo=False)),
        most=40,
        missing=_no_onnx,
    ),
    Check(
        "jit.trace",
        "`torch.jit.trace`, saved and loaded: the values. The gradient is cut off, as that of an exported program",
        in_graphs(_jit_trace),
    ),
    Check("fx", "`torch.fx.symbolic_trace`: gradients", each(_symbolic_trace)),
)
