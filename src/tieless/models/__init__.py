"""The study's networks, as plain modules built from (forward, backward, norm)."""

from __future__ import annotations

from tieless.models.binary import BinaryLeNet5, BinaryMLP
from tieless.models.cnn import ResidualCNN
from tieless.models.lenet import LeNet5
from tieless.models.mlp import MLP, Norm
from tieless.models.spec import ModelSpec, build_model, model_spec, models
from tieless.models.spiking import SpikingCNN
from tieless.models.suc import SUC

__all__ = [
    "MLP",
    "SUC",
    "BinaryLeNet5",
    "BinaryMLP",
    "LeNet5",
    "ModelSpec",
    "Norm",
    "ResidualCNN",
    "SpikingCNN",
    "build_model",
    "model_spec",
    "models",
]
