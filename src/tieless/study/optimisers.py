"""The optimisers that a trial can name: PyTorch's, with its defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["OPTIMISERS"]

OPTIMISERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
}
