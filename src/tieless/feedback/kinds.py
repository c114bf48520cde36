"""Kinds of feedback weights, which replace a layer's transposed weights in the backward pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from tieless import ops
from tieless.errors import RuleTypeError
from tieless.kernels.reductions import of_order_one
from tieless.registry import Named, Registry, hidden_at_default

FeedbackScale = Literal["glorot", "weights"]
"""Size of the feedback weights: that of weights at Glorot's start, or of the layer's own weights at each call."""


class Feedback(Named):
    """Feedback weights, which carry the incoming gradient through a linear layer in place of its weights ``W``.

    For ``y = W x + b`` and the incoming gradient (feedback) ``g`` of ``y``, the gradients of ``W`` and ``b`` are
    unchanged, and the gradient passed down is ``grad_input = B^T g`` in place of ``W^T g``. Nothing is stored: ``B``
    follows from the weights, and from a key that is the layer's own (``key_of``) or, where a kind ``draws``, the
    call's. Its numbers are float32, the same in every dtype and on every device.

    Attributes:
        reads_weight: True if ``B`` follows from ``W``.
        draws: True if each call has a key of its own, from PyTorch's generator.
        direct: True if the error at the model's output is carried, in place of ``g``.
    """

    __slots__ = ()
    reads_weight: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    direct: ClassVar[bool] = False

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        """Feedback weights ``B``, in the shape of ``W``.

        Args:
            shape: Shape of the weights: outputs first, then inputs, then the window of a convolution.
            weight: Weights ``W``; ``None`` if the kind does not read it.
            key: Key of 64 bits, from which random numbers follow.
            device: Device of the result.
        """
        raise NotImplementedError


_REGISTRY: Registry[Feedback] = Registry("feedback")

FeedbackLike = str | Feedback


def feedbacks() -> Mapping[str, type[Feedback]]:
    """Mapping of all kinds of feedback weights by name, sorted.

    Example:
        >>> list(tl.feedbacks())
        ['brsf', 'dfa', 'fa', 'frsf', 'tied', 'usf']
    """
    return _REGISTRY.catalogue()


def feedback(spec: FeedbackLike) -> Feedback:
    """Kind of feedback weights of a spec; ``str`` of it gives the spec back.

    Raises:
        SpecError: the spec cannot be read, or has an unknown name.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> from tieless.feedback import feedback
        >>> feedback("usf(scale='weights')")
        UniformSign(scale='weights', gain=1)
    """
    if isinstance(spec, Feedback):
        return spec
    if not isinstance(spec, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"Feedback weights are a spec or a Feedback, got {spec!r}. For example 'fa'.")
    return _REGISTRY.read(spec)


def key_of(seed: int, name: str) -> int:
    """Key of a layer: a function of a seed and of the layer's name, so that each layer has weights of its own.

    Example:
        >>> from tieless.feedback import key_of
        >>> key_of(0, "fc1") == key_of(0, "fc1"), key_of(0, "fc1") == key_of(0, "fc2"), key_of(0, "a") == key_of(1, "a")
        (True, False, False)
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _glorot(shape: Sequence[int]) -> float:
    """Root mean square of weights of a shape as Glorot starts them: ``sqrt(2 / (fan_in + fan_out))``."""
    window = math.prod(shape[2:])
    return math.sqrt(2 / ((shape[0] + shape[1]) * window))


def _uniform(shape: Sequence[int], key: Tensor | int, device: torch.device) -> Tensor:
    """Random numbers on [0, 1), functions of the key and of their place."""
    return ops.uniform(torch.empty(tuple(shape), dtype=torch.float32, device=device), key, 0, 0)


def _symmetric(shape: Sequence[int], key: Tensor | int, device: torch.device) -> Tensor:
    """Random numbers on [-sqrt 3, sqrt 3), whose root mean square is 1."""
    return (2 * _uniform(shape, key, device) - 1) * math.sqrt(3)


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class TiedFeedback(Feedback):
    """Weights of the layer itself: backpropagation. A layer converted to it is the same as before any conversion.

    Source:
        Rumelhart et al. 1986, doi:10.1038/323533a0.
    Example:
        >>> tl.convert_feedback(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), "tied")
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
        )
    """

    name: ClassVar[str] = "tied"

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        raise NotImplementedError


class _Scaled(Feedback):
    """Feedback weights with the root mean square of Glorot's start, or with the norm of the weights."""

    __slots__ = ()
    scale: FeedbackScale
    gain: float

    def check(self) -> None:
        self.require(1e-30 <= self.gain <= 1e30, "gain > 0 (1e-30 to 1e30)")

    def sized(self, pattern: Tensor, rms: float, shape: Sequence[int], weight: Tensor | None) -> Tensor:
        """Scale ``pattern``, whose root mean square is known, to the requested size."""
        if self.scale == "glorot":
            return pattern * (self.gain * _glorot(shape) / rms)
        assert weight is not None
        norm = cast("Tensor", torch.linalg.vector_norm(pattern)).clamp_min(torch.finfo(torch.float32).tiny)
        shares, unit = of_order_one(weight.detach().float(), range(weight.dim()))
        return pattern * (self.gain * cast("Tensor", torch.linalg.vector_norm(shares)) / norm) * unit


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class FeedbackAlignment(_Scaled):
    """Feedback alignment (FA): fixed random weights, independent of the layer's own.

    ``B = s V`` with ``V`` uniform on [-sqrt 3, sqrt 3), whose root mean square is 1, and ``s = gain sqrt(2 / (fan_in +
    fan_out))``: as large as weights at Glorot's uniform start, as BioTorch has them.

    Args:
        scale: ``"glorot"``, or ``"weights"``: ``s`` makes the norm of ``B`` the norm of the layer's weights at each
            call, times ``gain``.
        gain: Factor on the size; positive.
    Raises:
        RuleValueError: ``gain`` is not positive, or not from 1e-30 to 1e30.
    Source:
        Lillicrap et al. 2016, doi:10.1038/ncomms13276; the size: Glorot and Bengio 2010, and BioTorch (Sanfiz and
        Akrout 2021, arXiv:2108.13446).
    Example:
        >>> from tieless.feedback import FeedbackAlignment
        >>> B = FeedbackAlignment().weights((50, 30), None, 1, torch.device("cpu"))
        >>> bool(B.abs().max() < (6 / 80) ** 0.5), round(float(B.std() / (2 / 80) ** 0.5), 1)
        (True, 1.0)
    """

    name: ClassVar[str] = "fa"
    known_as: ClassVar[tuple[str, ...]] = ("BioTorch FA", "feedback_alignment")
    scale: FeedbackScale = hidden_at_default("glorot")
    gain: float = hidden_at_default(1)

    @property
    def reads_weight(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.scale == "weights"

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        return self.sized(_symmetric(shape, key, device), 1.0, shape, weight)


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class UniformSign(_Scaled):
    """Sign-symmetric feedback of one magnitude (uSF): ``B = s sign(W)``; a weight of 0 passes no gradient.

    ``s = gain sqrt(2 / (fan_in + fan_out))``, the root mean square of weights at Glorot's start; signs alone would make
    the gradient grow from layer to layer.

    Args:
        scale: ``"glorot"``, or ``"weights"``: ``s`` makes the norm of ``B`` the norm of the layer's weights at each
            call, times ``gain`` (strict normalisation).
        gain: Factor on the size; positive.
    Raises:
        RuleValueError: ``gain`` is not positive, or not from 1e-30 to 1e30.
    Source:
        Liao et al. 2016, arXiv:1510.05067; the size: BioTorch (Sanfiz and Akrout 2021, arXiv:2108.13446), after Xiao et
        al. 2018, arXiv:1811.03567; strict normalisation: Moskovitz et al. 2018, arXiv:1812.06488.
    Example:
        >>> from tieless.feedback import UniformSign
        >>> UniformSign(scale="weights").weights((1, 2), torch.tensor([[3.0, -4.0]]), 0, torch.device("cpu"))
        tensor([[ 3.5355, -3.5355]])
    """

    name: ClassVar[str] = "usf"
    known_as: ClassVar[tuple[str, ...]] = ("BioTorch uSF", "sign_symmetric")
    reads_weight: ClassVar[bool] = True
    scale: FeedbackScale = hidden_at_default("glorot")
    gain: float = hidden_at_default(1)

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        assert weight is not None
        return self.sized(torch.sign(weight.detach()).float(), 1.0, shape, weight)


class _RandomSign(_Scaled):
    __slots__ = ()
    reads_weight: ClassVar[bool] = True

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        assert weight is not None
        pattern = torch.sign(weight.detach()).float() * _uniform(shape, key, device)
        return self.sized(pattern, 1 / math.sqrt(3), shape, weight)


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class FixedSign(_RandomSign):
    """Sign-symmetric feedback of fixed random magnitudes (frSF): ``B = s sign(W) M``, ``M`` drawn once.

    ``M`` is uniform on [0, sqrt 3), whose root mean square is 1: the magnitudes of Glorot's uniform start. ``s`` is as
    in ``usf``.

    Args:
        scale: ``"glorot"``, or ``"weights"``: ``s`` makes the norm of ``B`` the norm of the layer's weights at each
            call, times ``gain``.
        gain: Factor on the size; positive.
    Raises:
        RuleValueError: ``gain`` is not positive, or not from 1e-30 to 1e30.
    Source:
        Liao et al. 2016, arXiv:1510.05067; the magnitudes: BioTorch (Sanfiz and Akrout 2021, arXiv:2108.13446).
    Example:
        >>> from tieless.feedback import FixedSign
        >>> B = FixedSign().weights((1, 3), torch.tensor([[0.1, 0.0, -2.0]]), 7, torch.device("cpu"))
        >>> B.sign()
        tensor([[ 1.,  0., -1.]])
    """

    name: ClassVar[str] = "frsf"
    known_as: ClassVar[tuple[str, ...]] = ("BioTorch frSF",)
    scale: FeedbackScale = hidden_at_default("glorot")
    gain: float = hidden_at_default(1)


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class BatchwiseSign(_RandomSign):
    """Sign-symmetric feedback of random magnitudes that each call draws anew (brSF): ``B = s sign(W) M``.

    ``M`` and ``s`` are as in ``frsf``. In training a call is a batch; a layer that is called several times for one
    batch, as in a spiking network, has other magnitudes each time. The key of a call comes from PyTorch's generator in
    the forward pass, so a checkpoint has the same key again.

    Args:
        scale: ``"glorot"``, or ``"weights"``: ``s`` makes the norm of ``B`` the norm of the layer's weights at each
            call, times ``gain``.
        gain: Factor on the size; positive.
    Raises:
        RuleValueError: ``gain`` is not positive, or not from 1e-30 to 1e30.
    Source:
        Liao et al. 2016, arXiv:1510.05067; the magnitudes: BioTorch (Sanfiz and Akrout 2021, arXiv:2108.13446).
    Example:
        >>> from tieless.feedback import BatchwiseSign
        >>> BatchwiseSign().draws
        True
    """

    name: ClassVar[str] = "brsf"
    known_as: ClassVar[tuple[str, ...]] = ("BioTorch brSF",)
    draws: ClassVar[bool] = True
    scale: FeedbackScale = hidden_at_default("glorot")
    gain: float = hidden_at_default(1)


@_REGISTRY.register
@dataclass(frozen=True, slots=True)
class DirectFeedbackAlignment(Feedback):
    """Direct feedback alignment (DFA): the error at a model's output goes to each layer's input by random weights.

    With ``e`` the gradient at the model's output, ``grad_input = B^T e`` for the input of every converted layer. ``B``
    has a row for each number of a sample's output and a column for each number of a sample's input to the layer, over
    whole feature maps. It is uniform, as large as weights of this shape at Glorot's start: ``gain sqrt(6 / (outputs +
    inputs))`` at the most.

    Args:
        gain: Factor on the size; positive.
    Raises:
        RuleValueError: ``gain`` is not positive, or not from 1e-30 to 1e30.
    Source:
        Nøkland 2016, arXiv:1609.01596; the size: BioTorch (Sanfiz and Akrout 2021, arXiv:2108.13446), which for
        convolutions has weights of the window's size instead, shared over the places.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> tl.convert_feedback(net, "dfa")
        Sequential(
          (0): FeedbackLinear(in_features=4, out_features=8, bias=True, feedback=dfa)
          (1): ReLU()
          (2): FeedbackLinear(in_features=8, out_features=2, bias=True, feedback=dfa)
        )
    """

    name: ClassVar[str] = "dfa"
    known_as: ClassVar[tuple[str, ...]] = ("BioTorch DFA", "direct_feedback_alignment")
    direct: ClassVar[bool] = True
    gain: float = hidden_at_default(1)

    def check(self) -> None:
        self.require(1e-30 <= self.gain <= 1e30, "gain > 0 (1e-30 to 1e30)")

    def weights(self, shape: Sequence[int], weight: Tensor | None, key: Tensor | int, device: torch.device) -> Tensor:
        # With one hidden layer, the numbers are the same as for feedback alignment, to the last bit.
        return _symmetric(shape, key, device) * (self.gain * _glorot(shape))
