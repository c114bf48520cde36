"""Programs that leave Python: the forward goes with them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from tests.matrix.asking import Check, Outcomes, Pair, compared, each, gradient, in_graphs, input_of, worst
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


def _export(pairs: Sequence[Pair]) -> Outcomes:
    """The values; and no gradient, where the exported program would send another than the rule's."""
    net = _Network(pairs)
    program = torch.export.export(net, (input_of(),)).module()
    z = input_of().requires_grad_()
    answers = {}
    for pair, got, expected in zip(pairs, program(z), net(z), strict=True):
        answers[pair] = compared(got, expected)
        if got.requires_grad and pair[1] != "tied":
            answers[pair] = "a gradient that is not the rule's"
    return answers


def _onnx(pairs: Sequence[Pair]) -> Outcomes:
    import onnxruntime

    net, z = _Network(pairs), input_of()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "net.onnx")
        torch.onnx.export(net, (z,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        got = session.run(None, {session.get_inputs()[0].name: z.numpy()})
    return {pair: compared(torch.from_numpy(one), other) for pair, one, other in zip(pairs, got, net(z), strict=True)}


def _no_onnx() -> str:
    return "" if find_spec("onnxruntime") and find_spec("onnxscript") else "needs onnxruntime and onnxscript"


def _seeded(function: Callable[[Tensor], Tensor]) -> Tensor:
    torch.manual_seed(7)
    return function(input_of())


def _jit_trace(forward: str, rule: str) -> str:
    act = Activation(forward, rule)
    traced = torch.jit.trace(act, (input_of(),), check_trace=False)
    return worst(
        [
            compared(*(_seeded(function) for function in (traced, act))),
            compared(gradient(traced, input_of()), gradient(act, input_of())),
        ]
    )


def _symbolic_trace(forward: str, rule: str) -> str:
    net = nn.Sequential(Activation(forward, rule), nn.Hardtanh(-9, 9), Activation(forward, rule))
    return compared(gradient(fx.symbolic_trace(net), input_of()), gradient(net, input_of()))


CHECKS = (
    Check(
        "export",
        "`torch.export`: the values. An exported program has no place for a rule; its gradient is cut off, "
        "never another one. A forward that draws is compared where chance has no say: the program draws its own numbers",
        _export,
        asked="a third",
    ),
    Check(
        "ONNX",
        "`torch.onnx.export(dynamo=True)`: the values, as onnxruntime computes them",
        in_graphs(_onnx),
        asked="half of each",
        missing=_no_onnx,
    ),
    Check("jit.trace", "`torch.jit.trace`: values and gradients", each(_jit_trace), asked="a third"),
    Check("fx", "`torch.fx.symbolic_trace`: gradients", each(_symbolic_trace), asked="a third"),
)
