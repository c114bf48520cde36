"""Recurrent network of gated units that reads characters."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike

Gates = Literal["untied", "tied"]


class GRULayer(nn.Module):
    """Gated recurrent units, written out so that each activation has its own forward and rule.

    With ``a`` the activation, ``s`` the logistic function of the gates, ``x`` the input and ``h`` the state before, 0
    at first::

        r, z = s(W_r x + b_r + U_r h + c_r), s(W_z x + b_z + U_z h + c_z)
        n = a(W_n x + b_n + r (U_n h + c_n))
        h = (1 - z) n + z h

    The weights have the names, shapes and order of those of ``torch.nn.GRU``.

    Args:
        inputs, width: Number of values per input and per state.
        forward, backward: Forward and backward rule of ``a``.
        gates: Rule of the gates: ``backward``, or ``"tied"``.
    Shape:
        ``(n, length, inputs) -> (n, length, width)``.
    Source:
        Cho et al. 2014, arXiv:1406.1078, in PyTorch's form, where the gate ``r`` comes after the product.
    Example:
        >>> GRULayer(3, 5, "tanh", "constant")(torch.rand(2, 7, 3)).shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        forward: ForwardLike = "tanh",
        backward: RuleLike = "tied",
        *,
        gates: Gates = "untied",
    ) -> None:
        super().__init__()
        self.width = width

        def weights(*shape: int) -> nn.Parameter:
            bound = 1 / math.sqrt(width)
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.weight_ih_l0 = weights(3 * width, inputs)
        self.weight_hh_l0 = weights(3 * width, width)
        self.bias_ih_l0 = weights(3 * width)
        self.bias_hh_l0 = weights(3 * width)
        self.gates = Activation("logistic", backward if gates == "untied" else "tied")
        self.act = Activation(forward, backward)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], self.width)
        states: list[Tensor] = []
        halves = [2 * self.width, self.width]
        seen = torch.split(nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0), halves, dim=2)
        for seen_gates, seen_new in zip(seen[0].unbind(1), seen[1].unbind(1), strict=True):
            known = nn.functional.linear(state, self.weight_hh_l0, self.bias_hh_l0)
            known_gates, known_new = torch.split(known, halves, dim=1)
            reset, keep = self.gates(seen_gates + known_gates).chunk(2, dim=1)
            new = self.act(seen_new + reset * known_new)
            state = new + keep * (state - new)
            states.append(state)
        return torch.stack(states, 1)


class GRU(nn.Module):
    """Embedding of codes, one layer of gated recurrent units, and at each code scores of the next one.

    Args:
        forward, backward: Forward and backward rule of the units' activation.
        codes: Number of codes.
        width: Number of units, and of values per embedding.
        gates: Rule of the gates: ``"untied"`` for ``backward``, or ``"tied"``.
    Shape:
        ``(n, length) -> (n, codes, length)``, int64 codes: as ``torch.nn.functional.cross_entropy`` wants scores.
    Source:
        Cho et al. 2014, arXiv:1406.1078.
    Example:
        >>> GRU("tanh", "constant", codes=70, width=16)(torch.zeros(2, 32).long()).shape
        torch.Size([2, 70, 32])
    """

    def __init__(
        self,
        forward: ForwardLike = "tanh",
        backward: RuleLike = "tied",
        *,
        codes: int,
        width: int = 128,
        gates: Gates = "untied",
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        self.units = GRULayer(width, width, forward, backward, gates=gates)
        self.head = nn.Linear(width, codes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.units(self.embedding(x))).transpose(1, 2)
