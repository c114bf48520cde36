"""Networks of the studies, as plain modules built from (forward, backward, norm)."""

from __future__ import annotations

from tieless.models.binary import BinaryLeNet5, BinaryMLP
from tieless.models.cnn import ResidualCNN
from tieless.models.gru import GRU, Gates, GRULayer
from tieless.models.lenet import LeNet5
from tieless.models.mlp import MLP, Norm
from tieless.models.registry import build_model, model_spec, models
from tieless.models.resnet import ResNet
from tieless.models.series import SeriesCNN, SeriesGRU
from tieless.models.spec import ModelSpec, register_model
from tieless.models.spiking import SpikingCNN
from tieless.models.suc import SUC
from tieless.models.transformer import GPT, ViT

__all__ = [
    "GPT",
    "GRU",
    "MLP",
    "SUC",
    "BinaryLeNet5",
    "BinaryMLP",
    "GRULayer",
    "Gates",
    "LeNet5",
    "ModelSpec",
    "Norm",
    "ResNet",
    "ResidualCNN",
    "SeriesCNN",
    "SeriesGRU",
    "SpikingCNN",
    "ViT",
    "build_model",
    "model_spec",
    "models",
    "register_model",
]
