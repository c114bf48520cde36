"""Optimisers for binary weights: with latent weights that are clipped, and without any."""

from __future__ import annotations

from tieless.optim.bop import Bop
from tieless.optim.latent import clip_after_step
from tieless.optim.split import split_parameters

__all__ = ["Bop", "clip_after_step", "split_parameters"]
