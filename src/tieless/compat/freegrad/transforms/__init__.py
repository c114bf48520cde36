"""Rules of freegrad, each of them a rule of ours."""

from __future__ import annotations

from tieless.compat.freegrad.transforms.basic import (
    centralize,
    clip_norm,
    heaviside,
    identity,
    noise,
    rectangular,
    scale,
    triangular,
)
from tieless.compat.freegrad.transforms.jamming import full_jam, positive_jam, rectangular_jam

__all__ = [
    "centralize",
    "clip_norm",
    "full_jam",
    "heaviside",
    "identity",
    "noise",
    "positive_jam",
    "rectangular",
    "rectangular_jam",
    "scale",
    "triangular",
]
