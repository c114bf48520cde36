"""Latent weights stay where a window lets them learn."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tieless.nn import clip_latent_weights


def clip_after_step(optimiser: torch.optim.Optimizer, model: nn.Module, limit: float = 1.0) -> RemovableHandle:
    """Have an optimiser clip the latent weights of a model to [-limit, limit] after each of its steps.

    Args:
        optimiser: Any of PyTorch's.
        model: Its quantised layers are looked up at each step, so it may be quantised later.
        limit: The largest magnitude that stays.
    Returns:
        A handle whose ``remove()`` ends it.
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

    def clip(*_: object) -> None:
        clip_latent_weights(model, limit)

    return optimiser.register_step_post_hook(clip)
