"""Training updates: as written, or, on a GPU, captured once and replayed.

The update of a small network is some hundred short kernels, and starting them from Python takes several times as long
as running them. A CUDA graph starts them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tieless.ops.keys import GraphKeys
from tieless.optim import DirectionFirst
from tieless.study.settings.losses import Loss, kind_of

_WARM = 3
"""Updates before the capture: PyTorch requires some, in which libraries choose algorithms and state is made."""
_CAPTURABLE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, DirectionFirst)
"""Optimisers whose update computes on the GPU alone, once their rate is there."""
_IN_A_GRAPH = {"capturable": True, "fused": True, "foreach": False}
"""Settings of PyTorch's optimisers, of which each has some."""


class Step:
    """Training update, operation by operation.

    Args:
        model: Network, in training mode.
        loss: Loss to minimise.
        optimisers: Optimisers of its parameters, together.
    """

    def __init__(self, model: nn.Module, loss: Loss, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        self.model = model
        self.loss = loss
        self.optimisers = optimisers
        self.forward = cast("Callable[[Tensor], Tensor]", model)

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train on a batch; return the loss and the number of correct labels before it, 0-dim and on the device.

        Of numbers to predict none is counted as correct.
        """
        outputs = self.forward(x)
        loss = self.loss.mean(outputs, labels)
        self.model.zero_grad()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        for optimiser in self.optimisers:
            optimiser.step()
        if kind_of(labels) == "numbers":
            return loss.detach(), torch.zeros((), dtype=torch.int64, device=labels.device)
        return loss.detach(), (self.loss.classes(outputs.detach()) == labels).sum()


class CompiledStep(Step):
    """Training update whose network is compiled, forward and backward; loss and optimisers are as written.

    Args:
        model, loss, optimisers: Same as for ``Step``.
        compiler: Backend of ``torch.compile``.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, optimisers: Sequence[torch.optim.Optimizer], compiler: str
    ) -> None:
        super().__init__(model, loss, optimisers)
        # Else the graphs of earlier trials count against the limit behind which code runs uncompiled.
        torch.compiler.reset()
        self.forward = cast("Callable[[Tensor], Tensor]", torch.compile(model, backend=compiler))


class CapturedStep(Step):
    """Training update as a CUDA graph, from the fourth batch on. Only batches of the first one's size are captured.

    The optimisers are changed so that a graph can hold them: their rates become tensors, which a schedule has to fill.

    Args:
        model, loss, optimisers: Same as for ``Step``, on a GPU; ``step_for`` decides which can be captured.
    """

    def __init__(self, model: nn.Module, loss: Loss, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__(model, loss, optimisers)
        self._seen = 0
        self._batch: torch.Size | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._keys = GraphKeys()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                device = cast("Tensor", group["params"][0]).device
                group["lr"] = torch.tensor(group["lr"], device=device)
                group.update({name: value for name, value in _IN_A_GRAPH.items() if name in group})

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._batch is None:
            self._batch = x.shape
        if x.shape != self._batch:
            return super().__call__(x, labels)
        if self._seen < _WARM:
            self._seen += 1
            return self._aside(x, labels)
        if self._graph is None:
            self._graph = self._capture(x, labels)
        self._x.copy_(x)
        self._labels.copy_(labels)
        self._keys.replay(self._graph)
        return self._outcome

    def _aside(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train on a batch on a stream of its own, as code must have run before it is captured."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outcome = super().__call__(x, labels)
        torch.cuda.current_stream().wait_stream(stream)
        return outcome

    def _capture(self, x: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Graph of the update; nothing is computed yet."""
        self._x, self._labels = x.clone(), labels.clone()
        # The graph makes gradients of its own, which each replay writes anew.
        self.model.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), self._keys:
            self._outcome = super().__call__(self._x, self._labels)
        return graph


def step_for(
    model: nn.Module,
    loss: Loss,
    optimisers: Sequence[torch.optim.Optimizer],
    *,
    changing: bool = False,
    compiler: str = "no",
) -> Step:
    """Update for a network: compiled if that is asked for; else the fastest with the same numbers.

    That is captured on a GPU, if every optimiser can be and no rule changes.
    """
    if compiler != "no":
        return CompiledStep(model, loss, optimisers, compiler)
    on_gpu = all(parameter.is_cuda for parameter in model.parameters())
    capturable = not changing and all(type(optimiser) in _CAPTURABLE for optimiser in optimisers)
    return (CapturedStep if on_gpu and capturable else Step)(model, loss, optimisers)
