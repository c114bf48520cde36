"""Separation of the weights that Bop trains from the parameters of another optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import nn

from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import Selectors, select_layers
from tieless.nn.weights import check_own_weight, quantizer_of


def split_parameters(
    model: nn.Module, layers: Selectors | None = None, *, keep_ends: bool = True
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Make weights of a model +1 and -1, and separate them from its other parameters.

    The chosen layers' weights become their signs, in place, where ``sign(0) = 1``. They are plain parameters without
    latent weights, for ``Bop``; biases, batch norm and the other layers are for another optimiser.

    Args:
        model: Any module.
        layers: One or several selectors, as for ``quantize_weights``; ``None``: all linear layers and convolutions.
        keep_ends: True to keep the model's first and last layer in float.
    Returns:
        Binary weights, and all other parameters that require a gradient.
    Raises:
        RuleTypeError: a layer has latent weights or a weight that is computed, such as by ``weight_norm``; or a
            selector is neither a name, a class nor a function.
        RuleValueError: there is no such layer, or a weight has NaN in it, or is also that of a module that is not
            chosen, such as an embedding to which the head is tied. Nothing is changed then.
    Example:
        >>> from tieless.models import MLP
        >>> from tieless.optim import Bop, split_parameters
        >>> net = MLP(64, (32, 32), 10, "sign", "rectangular(-1, 1)", norm="batch")
        >>> binary, others = split_parameters(net)
        >>> optimisers = Bop(binary), torch.optim.Adam(others)
        >>> [tuple(weight.shape) for weight in binary], len(others)
        ([(32, 32)], 9)
    """
    chosen = select_layers(model, layers, keep_ends=keep_ends)
    binary: dict[int, nn.Parameter] = {}
    for name, layer in chosen.items():
        if quantizer_of(layer) is not None:
            raise RuleTypeError(f"The layer {name!r} has latent weights, and Bop has no use for them: freeze it first.")
        check_own_weight(layer, name)
        weight = cast("nn.Parameter", layer.weight)
        if not weight.is_meta and bool(weight.isnan().any()):
            raise RuleValueError(f"The weight of {name or 'the model'} has NaN in it, which has no sign.")
        binary[id(weight)] = weight
    _check_ties(model, list(chosen.values()), binary)
    with torch.no_grad():
        for weight in binary.values():
            weight.copy_(torch.where(weight >= 0, 1.0, -1.0))
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in binary]
    return list(binary.values()), others


def _check_ties(model: nn.Module, chosen: Sequence[nn.Module], binary: Mapping[int, nn.Parameter]) -> None:
    """Refuse weights that other modules use too, which would become signs there as well."""
    for name, module in cast("Iterator[tuple[str, nn.Module]]", model.named_modules()):
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) in binary and not (key == "weight" and any(module is one for one in chosen)):
                raise RuleValueError(
                    f"{name}.{key} is also the weight of a layer that is to be binary, and would become +1 and -1 with it. "
                    "Give the layer a weight of its own first, or leave it out."
                )
