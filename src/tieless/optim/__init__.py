"""Optimisers for binary weights, with latent ones and without any, and schedules of backward rules at work."""

from __future__ import annotations

from tieless.optim.annealing import Annealing
from tieless.optim.bop import Bop
from tieless.optim.latent import clip_after_step
from tieless.optim.split import split_parameters

__all__ = ["Annealing", "Bop", "clip_after_step", "split_parameters"]
