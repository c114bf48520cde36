"""Bop: binary weights without latent weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tieless.errors import RuleTypeError, RuleValueError
from tieless.optim.grouped import Grouped, Parameters


class Bop(Grouped):
    """Optimiser that flips a weight of +1 or -1 when its gradient has pushed against it for long enough.

    With ``g`` the gradient of a weight ``w`` and ``m`` an average that starts at 0::

        m = (1 - gamma) m + gamma g
        w = -w     where |m| > threshold and sign(m) = sign(w)

    Nothing else changes a weight, so each is +1 or -1 at any time. The optimiser takes binary weights only; give the
    other parameters to another optimiser, see ``split_parameters``. ``m`` is float32 for weights of half types, also
    when a state is loaded.

    Args:
        params: Binary weights, or groups of them with their own ``threshold`` and ``gamma``.
        threshold: Magnitude that the average must exceed; not negative. A larger threshold flips fewer weights.
        gamma: Weight of the newest gradient, above 0 to 1. With a smaller one, older gradients count more.
    Raises:
        RuleTypeError, RuleValueError: an argument is wrong, or a weight is neither +1 nor -1.
    Source:
        Helwegen et al. 2019, "Latent weights do not exist", arXiv:1906.02107, algorithm 1, with its defaults for
        CIFAR-10.
    Example:
        >>> from tieless.optim import Bop
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, 1.0, -1.0]))
        >>> optimiser = Bop([weight], threshold=0.1, gamma=0.5)
        >>> weight.grad = torch.tensor([1.0, -1.0, 0.1])
        >>> optimiser.step(); weight
        Parameter containing:
        tensor([-1.,  1., -1.], requires_grad=True)
    """

    def __init__(self, params: Parameters, threshold: float = 1e-8, gamma: float = 1e-4) -> None:
        super().__init__(params, {"threshold": threshold, "gamma": gamma})

    def _check(self, group: Mapping[str, Any]) -> None:
        if not (0 <= group["threshold"] < math.inf and 0 < group["gamma"] <= 1):
            given = f"threshold={group['threshold']!r}, gamma={group['gamma']!r}"
            raise RuleValueError(f"Bop needs a finite threshold >= 0 and a gamma above 0 to 1, got {given}.")
        for weight in cast("list[Tensor]", group["params"]):
            if weight.is_meta:
                raise RuleValueError(
                    "Bop takes weights of +1 and -1, got one on the meta device. Load the weights first."
                )
            if not bool((weight.detach().abs() == 1).all()):
                raise RuleValueError(
                    f"Bop takes weights of +1 and -1, got a parameter of shape {tuple(weight.shape)} with others. "
                    "tieless.optim.split_parameters makes a model's weights binary and tells them from the rest."
                )

    def _update(self, group: Mapping[str, Any]) -> None:
        for weight in cast("list[Tensor]", group["params"]):
            if weight.grad is not None:
                self._flip(weight, weight.grad, group["threshold"], group["gamma"])

    def _flip(self, weight: Tensor, gradient: Tensor, threshold: float, gamma: float) -> None:
        if gradient.is_sparse:
            raise RuleTypeError("Bop has no sparse gradients; use dense ones.")
        average = self._average(weight)
        average.mul_(1 - gamma).add_(gradient, alpha=gamma)
        pushed = average * weight  # positive if both agree, of the magnitude of the average
        weight.copy_(torch.where(pushed > threshold, -weight, weight))
