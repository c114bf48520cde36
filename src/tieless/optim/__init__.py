"""Optimisers for untied networks and for binary weights, latent or not."""

from __future__ import annotations

import warnings

from tieless.nn import RuleScheduler
from tieless.optim.bop import Bop
from tieless.optim.direction_first import DirectionFirst
from tieless.optim.latent import clip_after_step
from tieless.optim.split import split_parameters

__all__ = ["Bop", "DirectionFirst", "clip_after_step", "split_parameters"]


def __getattr__(name: str) -> object:
    """``Annealing``, which is no optimiser and became ``tieless.nn.RuleScheduler``."""
    if name != "Annealing":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("tieless.optim.Annealing is tieless.nn.RuleScheduler now.", DeprecationWarning, stacklevel=2)
    return RuleScheduler
