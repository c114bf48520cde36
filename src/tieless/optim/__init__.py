"""Optimisers for untied networks and for binary weights, latent or not, and schedules of backward rules at work."""

from __future__ import annotations

from tieless.optim.annealing import Annealing
from tieless.optim.bop import Bop
from tieless.optim.direction_first import DirectionFirst
from tieless.optim.latent import clip_after_step
from tieless.optim.split import split_parameters

__all__ = ["Annealing", "Bop", "DirectionFirst", "clip_after_step", "split_parameters"]
