"""Layers with ternary weights: PyTorch's own layers with the parametrization ``QuantizedWeight``."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from tieless.nn.weights import QuantizedLayer, QuantizedWeight, WeightScale
from tieless.rules import RuleLike


class _Ternary(QuantizedLayer):
    def __init__(
        self,
        *sizes: Any,
        threshold: float = 0.7,
        backward: RuleLike = "constant",
        scale: WeightScale = "mean",
        **others: Any,
    ) -> None:
        quantizer = QuantizedWeight(f"ternary({threshold})", backward, scale=scale, unit=1)
        super().__init__(*sizes, quantizer=quantizer, **others)


class TernaryLinear(_Ternary, nn.Linear):
    """``nn.Linear`` with weights of -s, 0 and +s.

    A latent weight becomes 0 if its magnitude is at most ``threshold`` times the mean magnitude, else its sign. The
    layer is ``nn.Linear`` with ``QuantizedWeight("ternary(threshold)", backward, scale=scale, unit=1)``, so ``s`` is
    the mean magnitude of the weights beyond the threshold.

    Args:
        sizes, others: Arguments of ``nn.Linear``.
        threshold: Edge of the zero, in mean magnitudes of the latent weights; not negative.
        backward: Backward rule of the step function. The default passes the whole gradient (straight-through), as the
            source does.
        scale: Factor on -1, 0 and 1, see ``QuantizedWeight``.
    Shape:
        ``(..., in_features) -> (..., out_features)``.
    Source:
        Li and Liu 2016, "Ternary weight networks", arXiv:1605.04711.
    Example:
        >>> from tieless.nn import TernaryLinear
        >>> layer = TernaryLinear(4, 1, bias=False)
        >>> layer.weight = torch.tensor([[0.1, -0.2, 1.5, -2.0]])
        >>> layer.weight
        tensor([[ 0.0000,  0.0000,  1.7500, -1.7500]], grad_fn=<MulBackward0>)
    """

    plain: ClassVar[type[nn.Module]] = nn.Linear


class TernaryConv1d(_Ternary, nn.Conv1d):
    """``nn.Conv1d`` with weights of -s, 0 and +s.

    Arguments are those of ``nn.Conv1d``; ``threshold``, ``backward`` and ``scale`` are as in ``TernaryLinear``.

    Example:
        >>> from tieless.nn import TernaryConv1d
        >>> TernaryConv1d(3, 4, 3, padding=1)(torch.rand(2, 3, 8)).shape
        torch.Size([2, 4, 8])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv1d


class TernaryConv2d(_Ternary, nn.Conv2d):
    """``nn.Conv2d`` with weights of -s, 0 and +s.

    Arguments are those of ``nn.Conv2d``; ``threshold``, ``backward`` and ``scale`` are as in ``TernaryLinear``.

    Example:
        >>> from tieless.nn import TernaryConv2d
        >>> TernaryConv2d(3, 4, 3)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 4, 6, 6])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv2d
