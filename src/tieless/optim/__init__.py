"""Optimisers for untied networks and for binary weights, latent or not."""

from __future__ import annotations

from tieless._imports import renamed
from tieless.optim.bop import Bop
from tieless.optim.direction_first import DirectionFirst
from tieless.optim.latent import clip_after_step
from tieless.optim.split import split_parameters

__all__ = ["Bop", "DirectionFirst", "clip_after_step", "split_parameters"]

__getattr__ = renamed(__name__, Annealing="tieless.nn:RuleScheduler")
