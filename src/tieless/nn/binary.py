"""Layers with binary weights: PyTorch's own layers with the parametrization ``QuantizedWeight``."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from tieless.nn.weights import QuantizedLayer, QuantizedWeight, WeightScale
from tieless.rules import RuleLike


class _Binary(QuantizedLayer):
    def __init__(
        self,
        *sizes: Any,
        backward: RuleLike = "rectangular(-1, 1)",
        scale: WeightScale = "none",
        **others: Any,
    ) -> None:
        super().__init__(*sizes, quantizer=QuantizedWeight("sign", backward, scale=scale), **others)


class BinaryLinear(_Binary, nn.Linear):
    """``nn.Linear`` with weights of +1 and -1: the signs of latent weights, where ``sign(0) = 1``.

    The layer is ``nn.Linear`` with ``QuantizedWeight("sign", backward, scale=scale)``: latent weights are the parameter
    ``parametrizations.weight.original``, ``weight`` is computed from them, and a bias is unchanged.

    Args:
        sizes, others: Arguments of ``nn.Linear``.
        backward: Backward rule of the sign (straight-through estimator). The default blocks the gradient of latent
            weights outside of [-1, 1], so clip latent weights to this interval, with ``tieless.optim.clip_after_step``.
        scale: Factor on the signs, see ``QuantizedWeight``.
    Shape:
        ``(..., in_features) -> (..., out_features)``.
    Source:
        Courbariaux et al. 2015, "BinaryConnect", arXiv:1511.00363.
    Example:
        >>> from tieless.nn import BinaryLinear
        >>> layer = BinaryLinear(3, 2)
        >>> layer.weight.abs()
        tensor([[1., 1., 1.],
                [1., 1., 1.]], grad_fn=<AbsBackward0>)
        >>> list(layer.state_dict())
        ['bias', 'parametrizations.weight.original']
    """

    plain: ClassVar[type[nn.Module]] = nn.Linear


class BinaryConv1d(_Binary, nn.Conv1d):
    """``nn.Conv1d`` with weights of +1 and -1.

    Arguments are those of ``nn.Conv1d``; ``backward`` and ``scale`` are as in ``BinaryLinear``.

    Example:
        >>> from tieless.nn import BinaryConv1d
        >>> BinaryConv1d(3, 4, 3, padding=1)(torch.rand(2, 3, 8)).shape
        torch.Size([2, 4, 8])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv1d


class BinaryConv2d(_Binary, nn.Conv2d):
    """``nn.Conv2d`` with weights of +1 and -1.

    Arguments are those of ``nn.Conv2d``; ``backward`` and ``scale`` are as in ``BinaryLinear``.

    Source:
        Rastegari et al. 2016, "XNOR-Net", arXiv:1603.05279, for ``scale="per-channel"``.
    Example:
        >>> from tieless.nn import BinaryConv2d
        >>> BinaryConv2d(3, 4, 3, scale="per-channel")(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 4, 6, 6])
    """

    plain: ClassVar[type[nn.Module]] = nn.Conv2d
