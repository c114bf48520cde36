"""Models by name: specs such as ``lenet5(norm="batch")``, and the models that they build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tieless import own
from tieless.errors import RuleValueError
from tieless.forwards import ForwardLike
from tieless.models.binary import BinaryLeNet5, BinaryMLP
from tieless.models.cnn import ResidualCNN
from tieless.models.gru import GRU, Gates
from tieless.models.lenet import LeNet5
from tieless.models.mlp import MLP, Norm
from tieless.models.resnet import ResNet
from tieless.models.series import SeriesCNN, SeriesGRU
from tieless.models.spec import MODELS, ModelSpec, written_model
from tieless.models.spiking import SpikingCNN
from tieless.models.suc import SUC
from tieless.models.transformer import GPT, ViT
from tieless.registry import hidden_at_default
from tieless.rules import RuleLike


@MODELS.register
@dataclass(frozen=True, slots=True)
class _SUC(ModelSpec):
    """Unit with a bias and an activation."""

    name: ClassVar[str] = "suc"

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        self.require(classes == 2, f"2 classes (the data has {classes})")
        return SUC(features, forward, backward)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _MLP(ModelSpec):
    """MLP with ``depth`` hidden layers of ``width`` units."""

    name: ClassVar[str] = "mlp"
    width: int = 64
    depth: int = 2
    norm: Norm = hidden_at_default("none")

    def check(self) -> None:
        self.require(self.width >= 1 and self.depth >= 0, "width >= 1 and depth >= 0")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        return MLP(features, (self.width,) * self.depth, classes, forward, backward, norm=self.norm)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _LeNet5(ModelSpec):
    """LeNet-5 for images of 28 x 28."""

    name: ClassVar[str] = "lenet5"
    norm: Norm = hidden_at_default("none")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        return LeNet5(forward, backward, norm=self.norm, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _BinaryMLP(ModelSpec):
    """MLP with sign weights and batch norm."""

    name: ClassVar[str] = "bnn_mlp"
    width: int = 256
    depth: int = 2

    def check(self) -> None:
        self.require(self.width >= 1 and self.depth >= 0, "width >= 1 and depth >= 0")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        return BinaryMLP(features, (self.width,) * self.depth, classes, forward, backward)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _BinaryLeNet5(ModelSpec):
    """LeNet-5 with sign weights and batch norm."""

    name: ClassVar[str] = "bnn_lenet5"

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        return BinaryLeNet5(forward, backward, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _ResidualCNN(ModelSpec):
    """Residual network of two stages with a shortcut for each convolution, for images of 28 x 28."""

    name: ClassVar[str] = "residual_cnn"
    width: int = 64
    first: int = hidden_at_default(2)
    second: int = hidden_at_default(3)
    bend: bool = hidden_at_default(default=False)

    def check(self) -> None:
        self.require(self.width >= 1 and self.first >= 1 and self.second >= 1, "width, first and second >= 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        depths = (self.first, self.second)
        return ResidualCNN(forward, backward, width=self.width, depths=depths, bend=self.bend, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _SpikingCNN(ModelSpec):
    """Convolutional spiking network for images of 28 x 28."""

    name: ClassVar[str] = "snn_cnn"
    width: int = 32
    steps: int = 4
    beta: float = hidden_at_default(0.5)

    def check(self) -> None:
        self.require(self.width >= 1 and self.steps >= 1, "width and steps >= 1")
        self.require(0 <= self.beta <= 1, "beta from 0 to 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        return SpikingCNN(forward, backward, width=self.width, steps=self.steps, beta=self.beta, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _ResNet(ModelSpec):
    """Residual network of ``depth`` layers with batch norm, for images of 28 x 28."""

    name: ClassVar[str] = "resnet"
    depth: int = 20
    width: int = 16

    def check(self) -> None:
        self.require(self.depth >= 8 and self.depth % 6 == 2, "a depth of 6 k + 2 (8, 14, 20, ...)")
        self.require(self.width >= 1, "width >= 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        return ResNet(forward, backward, depth=self.depth, width=self.width, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _ViT(ModelSpec):
    """Vision transformer of ``depth`` blocks, for images of 28 x 28 in patches of 4 x 4."""

    name: ClassVar[str] = "vit"
    width: int = 64
    depth: int = 4
    heads: int = hidden_at_default(4)

    def check(self) -> None:
        _check_transformer(self, self.width, self.depth, self.heads)

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _require_images(self, features)
        return ViT(forward, backward, width=self.width, depth=self.depth, heads=self.heads, classes=classes)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _GPT(ModelSpec):
    """Transformer of ``depth`` blocks that reads codes and scores the next one at each."""

    name: ClassVar[str] = "gpt"
    width: int = 64
    depth: int = 4
    heads: int = hidden_at_default(4)

    def check(self) -> None:
        _check_transformer(self, self.width, self.depth, self.heads)

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        return GPT(
            forward, backward, codes=classes, context=features, width=self.width, depth=self.depth, heads=self.heads
        )


@MODELS.register
@dataclass(frozen=True, slots=True)
class _GRU(ModelSpec):
    """Gated recurrent units that read codes and score the next one at each."""

    name: ClassVar[str] = "gru"
    width: int = 128
    gates: Gates = hidden_at_default("untied")

    def check(self) -> None:
        self.require(self.width >= 1, "width >= 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        return GRU(forward, backward, codes=classes, width=self.width, gates=self.gates)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _SeriesCNN(ModelSpec):
    """Three convolutions over time, for series of ``channels``."""

    name: ClassVar[str] = "series_cnn"
    width: int = 25
    channels: int = hidden_at_default(1)

    def check(self) -> None:
        self.require(self.width >= 1 and self.channels >= 1, "width and channels >= 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        length = _length(self, features, self.channels)
        self.require(length >= _SHORTEST, f"series of {_SHORTEST} values or more (the data has {length})")
        return SeriesCNN(length, self.channels, self.width, classes, forward, backward)


@MODELS.register
@dataclass(frozen=True, slots=True)
class _SeriesGRU(ModelSpec):
    """Gated recurrent units over time, for series of ``channels``."""

    name: ClassVar[str] = "series_gru"
    width: int = 32
    channels: int = hidden_at_default(1)
    gates: Gates = hidden_at_default("untied")

    def check(self) -> None:
        self.require(self.width >= 1 and self.channels >= 1, "width and channels >= 1")

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        _length(self, features, self.channels)
        return SeriesGRU(self.channels, self.width, classes, forward, backward, gates=self.gates)


_SHORTEST = 6
"""Number of values that three strides of 2 leave one of."""


def _length(spec: ModelSpec, features: int, channels: int) -> int:
    spec.require(features % channels == 0, f"as many channels as the data (which has {features} numbers a sample)")
    return features // channels


def _check_transformer(spec: ModelSpec, width: int, depth: int, heads: int) -> None:
    spec.require(depth >= 1 and heads >= 1 and width >= heads, "depth and heads >= 1, and width >= heads")
    spec.require(width % heads == 0, "a width that is a multiple of heads")


def _require_images(spec: ModelSpec, features: int) -> None:
    if features != 28 * 28:
        raise RuleValueError(
            f"{spec.name} needs images of 28 x 28, and the data has {features} numbers a sample. Fashion-MNIST has such images."
        )


def models() -> Mapping[str, type[ModelSpec]]:
    """All models by name, sorted.

    Example:
        >>> list(models())
        ['bnn_lenet5', 'bnn_mlp', 'gpt', 'gru', 'lenet5', 'mlp', 'residual_cnn', 'resnet', 'series_cnn', 'series_gru', 'snn_cnn', 'suc', 'vit']
    """
    return MODELS.catalogue()


def model_spec(spec: str) -> ModelSpec:
    """Read the spec of a model without building it: by name, or by an object of the user's own, ``mynet.py:Net(64)``.

    Raises:
        SpecError: the spec cannot be read, or names what does not exist.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> str(model_spec("mlp(64, depth=3)"))
        'mlp(64, 3)'
    """
    mine = own.split(spec)
    return MODELS.read(spec) if mine is None else written_model(*mine)


def build_model(spec: str, forward: ForwardLike, backward: RuleLike, *, features: int, classes: int) -> nn.Module:
    """Build the model of a spec for data of a shape.

    Args:
        spec: Spec such as ``"lenet5"`` or ``"mlp(64, 2)"``.
        forward, backward: Forward and backward rule of every activation.
        features: Number of values, or codes, per sample.
        classes: Number of classes, or of codes that exist.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter or the data does not fit.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Example:
        >>> net = build_model("mlp(8, 1)", "heaviside", "rectangular", features=4, classes=3)
        >>> net(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """
    return model_spec(spec).build(forward, backward, features, classes)
