"""Clipping of latent weights to the window in which they can learn."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import clip_latent_weights, latent_weights
from tieless.nn.select import check_module
from tieless.registry import positive_number


def clip_after_step(optimiser: torch.optim.Optimizer, model: nn.Module, limit: float = 1.0) -> RemovableHandle:
    """Make an optimiser clip the latent weights of a model to [-limit, limit] after each of its updates.

    Args:
        optimiser: Any optimiser of PyTorch's.
        model: Model whose quantised layers are looked up at each update, so it may be quantised later.
        limit: Largest magnitude that is left; above 0.
    Returns:
        Handle whose ``remove()`` ends it.
    Raises:
        RuleTypeError: the optimiser is none, or the model is no module.
        RuleValueError: the limit is no finite number above 0; or the optimiser has none of the model's latent weights.
            If the model has none yet, the first update raises that error.
    Source:
        Courbariaux et al. 2015, "BinaryConnect", arXiv:1511.00363, section 2.4.
    Example:
        >>> from tieless.nn import BinaryLinear, latent_weights
        >>> from tieless.optim import clip_after_step
        >>> layer = BinaryLinear(3, 2)
        >>> optimiser = torch.optim.SGD(layer.parameters(), lr=100.0)
        >>> handle = clip_after_step(optimiser, layer)
        >>> layer(torch.ones(1, 3)).sum().backward(); optimiser.step()
        >>> latent_weights(layer)[0].abs().max()
        tensor(1., grad_fn=<MaxBackward1>)
    """
    if not isinstance(optimiser, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"clip_after_step needs one of PyTorch's optimisers, got {optimiser!r}.")
    check_module(model, "clip_after_step")
    limit = positive_number("clip_after_step: limit", limit)
    checked = bool(latent_weights(model))
    if checked:
        _check(optimiser, model)

    def clip(*_: object) -> None:
        nonlocal checked
        if not checked:
            _check(optimiser, model)
            checked = True
        clip_latent_weights(model, limit)

    return optimiser.register_step_post_hook(clip)


def _check(optimiser: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimiser that trains none of the latent weights that it would clip."""
    latent = latent_weights(model)
    if not {id(one) for one in latent} & {id(one) for group in optimiser.param_groups for one in group["params"]}:
        raise RuleValueError(
            f"clip_after_step: this {type(optimiser).__name__} has none of the {len(latent)} latent weights of "
            f"{type(model).__name__}. Give it the model's parameters, and quantise the model before its first step."
        )
