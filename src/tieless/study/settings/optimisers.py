"""Optimisers that a trial can name: PyTorch's, with its defaults unless a spec says otherwise, ours, and a library's.

PyTorch's optimisers update in one operation (``fused``): otherwise their update is a tenth of a small network's time
per batch on a CPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from tieless._imports import try_import
from tieless.errors import RuleValueError
from tieless.nn.select import between_ends, linear_layers
from tieless.optim import Bop, DirectionFirst, split_parameters
from tieless.registry import Named, Registry, hidden_at_default


class Optimiser(Named):
    """Optimiser without parameters yet."""

    __slots__ = ()

    def build(self, model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
        """Optimisers that train a model, each of them some of its parameters."""
        return [self.over(model.parameters(), rate)]

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Single optimiser of all parameters."""
        raise NotImplementedError

    def check_model(self, model: nn.Module) -> None:
        """Raise the error that ``build`` would. It may change the weights, but it makes no optimiser: with the first
        one of a process PyTorch imports its compiler, which would delay a study by two seconds.
        """


OPTIMISERS: Registry[Optimiser] = Registry("optimiser")


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Adam(Optimiser):
    """Adam, ``torch.optim.Adam``; with ``weight_decay``, ``torch.optim.AdamW``."""

    name: ClassVar[str] = "adam"
    weight_decay: float = hidden_at_default(0.0)

    def check(self) -> None:
        self.require(self.weight_decay >= 0, "weight_decay >= 0")

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        if self.weight_decay:
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=self.weight_decay, fused=True)
        return torch.optim.Adam(parameters, lr=rate, fused=True)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Muon(Optimiser):
    """Muon, ``torch.optim.Muon``, for the matrices of the hidden layers; Adam for the rest, as its authors say.

    Muon makes each update of a matrix orthogonal, so that no size of the gradient is left in it. The first and the last
    layer, biases, norms and convolutions, whose weights are no matrices, are Adam's. One learning rate serves both: the
    updates have the mean square of Adam's (Liu et al. 2025, arXiv:2502.16982). There is no weight decay.
    """

    name: ClassVar[str] = "muon"
    momentum: float = hidden_at_default(0.95)

    def check(self) -> None:
        self.require(0 <= self.momentum < 1, "momentum from 0 to below 1")

    def build(self, model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
        matrices = self._matrices(model)
        mine = set(map(id, matrices))
        others = [parameter for parameter in model.parameters() if id(parameter) not in mine]
        muon = torch.optim.Muon(
            matrices, lr=rate, weight_decay=0.0, momentum=self.momentum, adjust_lr_fn="match_rms_adamw"
        )
        return [muon, torch.optim.Adam(others, lr=rate, fused=True)]

    def check_model(self, model: nn.Module) -> None:
        self._matrices(model)

    def _matrices(self, model: nn.Module) -> list[nn.Parameter]:
        hidden = between_ends(list(linear_layers(model)), keep_ends=True)
        found = [cast("nn.Parameter", layer.weight) for _, layer in hidden]
        if not (matrices := [weight for weight in found if weight.dim() == 2]):
            raise RuleValueError("muon trains the matrices of hidden linear layers, and the model has none. Take adam.")
        return matrices


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Momentum(Optimiser):
    """SGD with a momentum of 0.9, ``torch.optim.SGD``."""

    name: ClassVar[str] = "momentum"

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, fused=True)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Sgd(Optimiser):
    """Plain SGD, ``torch.optim.SGD``."""

    name: ClassVar[str] = "sgd"

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=rate, fused=True)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _DirectionFirst(Optimiser):
    """Optimiser ``tieless.optim.DirectionFirst``."""

    name: ClassVar[str] = "direction_first"
    momentum: float = hidden_at_default(0.9)

    def check(self) -> None:
        self.require(0 <= self.momentum < 1, "momentum from 0 to below 1")

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return DirectionFirst(parameters, lr=rate, momentum=self.momentum)


class _Kept(Optimiser):
    """Optimiser of pytorch-optimizer, a package that takes a second to import: it is imported when a trial needs it."""

    __slots__ = ()
    called: ClassVar[str]

    def of_library(self) -> Any:
        library: Any = None
        with try_import("study") as extra:
            library = importlib.import_module("pytorch_optimizer")
        extra.check()
        return getattr(library, self.called)

    def check_model(self, model: nn.Module) -> None:
        self.of_library()


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _SignSGD(_Kept):
    """pytorch-optimizer's ``SignSGD``: updates of one magnitude per weight, by the sign of the averaged gradient."""

    name: ClassVar[str] = "sign_sgd"
    called: ClassVar[str] = "SignSGD"
    momentum: float = hidden_at_default(0.9)

    def check(self) -> None:
        self.require(0 <= self.momentum < 1, "momentum from 0 to below 1")

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return self.of_library()(parameters, lr=rate, momentum=self.momentum)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Lion(_Kept):
    """pytorch-optimizer's ``Lion``: signs of an average that looks back further than the update does."""

    name: ClassVar[str] = "lion"
    called: ClassVar[str] = "Lion"
    weight_decay: float = hidden_at_default(0.0)

    def check(self) -> None:
        self.require(self.weight_decay >= 0, "weight_decay >= 0")

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return self.of_library()(parameters, lr=rate, weight_decay=self.weight_decay)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Lars(_Kept):
    """pytorch-optimizer's ``LARS``: momentum; each layer's gradient is scaled to ``trust`` times its weights' norm."""

    name: ClassVar[str] = "lars"
    called: ClassVar[str] = "LARS"
    trust: float = hidden_at_default(0.001)
    momentum: float = hidden_at_default(0.9)

    def check(self) -> None:
        self.require(self.trust > 0 and 0 <= self.momentum < 1, "trust > 0 and momentum from 0 to below 1")

    def over(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return self.of_library()(parameters, lr=rate, momentum=self.momentum, trust_coefficient=self.trust)


@OPTIMISERS.register
@dataclass(frozen=True, slots=True)
class _Bop(Optimiser):
    """``tieless.optim.Bop`` for the weights of all layers but the ends, which become binary; Adam for the rest.

    The learning rate is Adam's. A schedule falls on both, on Bop's ``gamma``.
    """

    name: ClassVar[str] = "bop"
    threshold: float = 1e-8
    gamma: float = 1e-4

    def check(self) -> None:
        self.require(self.threshold >= 0 and 0 < self.gamma <= 1, "threshold >= 0 and gamma above 0 to 1")

    def build(self, model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
        binary, others = split_parameters(model)
        return [Bop(binary, self.threshold, self.gamma), torch.optim.Adam(others, lr=rate, fused=True)]

    def check_model(self, model: nn.Module) -> None:
        split_parameters(model)
