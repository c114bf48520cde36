"""Tell the weights that Bop trains from the parameters that another optimiser does."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from tieless.errors import RuleTypeError
from tieless.nn import Selectors, select_layers
from tieless.nn.weights import quantizer_of


def split_parameters(
    model: nn.Module, layers: Selectors | None = None, *, keep_ends: bool = True
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Make weights of a model +1 and -1, and tell them from its other parameters.

    The chosen layers' weights become their signs, in place, where ``sign(0) = 1``. They are plain parameters without latent
    ones, for ``Bop``; biases, batch norm and the layers that are kept are for another optimiser.

    Args:
        model: Any module.
        layers: One or several selectors, as ``quantize_weights`` takes them; ``None``: all linear layers and convolutions.
        keep_ends: True keeps the model's first and last layer in float.
    Returns:
        The binary weights, and all other parameters that require a gradient.
    Raises:
        RuleTypeError: a layer has latent weights, or a selector is neither a name, a class nor a function.
        RuleValueError: there is no such layer.
    Example:
        >>> from tieless.models import MLP
        >>> from tieless.optim import Bop, split_parameters
        >>> net = MLP(64, (32, 32), 10, "sign", "rectangular(-1, 1)", norm="batch")
        >>> binary, others = split_parameters(net)
        >>> optimisers = Bop(binary), torch.optim.Adam(others)
        >>> [tuple(weight.shape) for weight in binary], len(others)
        ([(32, 32)], 9)
    """
    binary: dict[int, nn.Parameter] = {}
    for name, layer in select_layers(model, layers, keep_ends=keep_ends).items():
        if quantizer_of(layer) is not None:
            raise RuleTypeError(f"The layer {name!r} has latent weights, and Bop has no use for them: freeze it first.")
        weight = cast("nn.Parameter", layer.weight)
        with torch.no_grad():
            weight.copy_(torch.where(weight >= 0, 1.0, -1.0))
        binary[id(weight)] = weight
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in binary]
    return list(binary.values()), others
