"""Layers with weights of a few bits: PyTorch's own layers with the parametrization ``QuantizedWeight``."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from tieless.nn.weights import QuantizedLayer, QuantizedWeight, WeightScale
from tieless.rules import RuleLike


class _Quant(QuantizedLayer):
    def __init__(
        self,
        *sizes: Any,
        bits: int = 4,
        backward: RuleLike = "constant",
        scale: WeightScale = "mean",
        **others: Any,
    ) -> None:
        super().__init__(*sizes, quantizer=QuantizedWeight.from_bits(bits, backward, scale=scale), **others)


class QuantLinear(_Quant, nn.Linear):
    """``nn.Linear`` with weights of ``bits`` bits: ``s i / q``, integers ``i`` from ``-q`` to ``q = 2^(bits-1) - 1``.

    The layer is ``nn.Linear`` with ``QuantizedWeight("signed_staircase(q)", backward, scale=scale, unit=u)``: latent
    weights are clipped at ``u`` mean magnitudes and rounded. ``u`` is best for normally distributed weights: 1.54 at 2
    bits, 2.44, 3.10, 3.63, 4.10, 4.52, 4.91 at 8.

    Args:
        sizes, others: Arguments of ``nn.Linear``.
        bits: Bits per weight, 2 to 8; for one bit see ``BinaryLinear``.
        backward: Backward rule of the rounding. The default passes the whole gradient (straight-through estimator).
        scale: Factor on the values, see ``QuantizedWeight``.
    Shape:
        ``(..., in_features) -> (..., out_features)``.
    Source:
        Zhou et al. 2016, "DoReFa-Net", arXiv:1606.06160, which clips at the largest magnitude instead and has no zero.
    Example:
        >>> from tieless.nn import QuantLinear
        >>> layer = QuantLinear(100, 10, bits=3)
        >>> len(layer.weight.unique()) <= 7
        True
    """

    plain: ClassVar[type[nn.Module]] = nn.Linear


class QuantConv1d(_Quant, nn.Conv1d):
    """``nn.Conv1d`` with weights of ``bits`` bits.

    Arguments are those of ``nn.Conv1d``; ``bits``, ``backward`` and ``scale`` are as in ``QuantLinear``.

    Example:
        >>> from tieless.nn import QuantConv1d
        >>> QuantConv1d(3, 4, 3, padding=1)(torch.rand(2, 3, 8)).shape
        torch.Size([2, 4, 8])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv1d


class QuantConv2d(_Quant, nn.Conv2d):
    """``nn.Conv2d`` with weights of ``bits`` bits.

    Arguments are those of ``nn.Conv2d``; ``bits``, ``backward`` and ``scale`` are as in ``QuantLinear``.

    Example:
        >>> from tieless.nn import QuantConv2d
        >>> QuantConv2d(3, 4, 3, bits=2)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 4, 6, 6])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv2d
