"""Losses that a trial can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal, TypeVar

from torch import Tensor
from torch.nn import functional as F

from tieless.errors import RuleTypeError, SpecError, StudyError
from tieless.grammar import is_name, shown
from tieless.registry import known_by_name

Targets = Literal["classes", "numbers"]
"""Kinds of targets: labels of classes, or numbers to predict."""
Compared = Callable[[Tensor, Tensor], Tensor]
"""Function of outputs and targets."""
LossT = TypeVar("LossT", bound=Compared)


def kind_of(targets: Tensor) -> Targets:
    """Kind of the targets of a data set, by their dtype."""
    return "numbers" if targets.is_floating_point() else "classes"


def classes_of(outputs: Tensor) -> Tensor:
    """Predicted classes, in the shape of the labels: the largest score, or, of one unit, 1 above a half."""
    return outputs.argmax(1) if outputs.dim() >= 2 else (outputs > 0.5).long()


def aligned(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the shape of numbers to predict: ``(n, 1)`` and ``(n,)`` would else be compared all with all."""
    same = kind_of(targets) == "numbers" and outputs.numel() == targets.numel()
    return outputs.reshape(targets.shape) if same else outputs


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss, and the mapping of the network's outputs to classes.

    Outputs are ``(n, classes)`` for labels ``(n,)``, ``(n, classes, context)`` for labels ``(n, context)``, or, of one
    unit, ``(n,)``. For numbers to predict they have the shape of those.

    Args:
        mean: Function (outputs, targets) -> mean loss over all targets, 0-dim.
        classes: Function outputs -> labels, in the shape of the labels.
        only: Kind of targets that it takes; ``None`` if it takes both.
    """

    mean: Compared
    classes: Callable[[Tensor], Tensor] = classes_of
    only: Targets | None = None


def _error(of: Compared) -> Compared:
    """Mean error of outputs towards numbers, of one unit towards labels, else towards one-hot classes."""

    def mean(outputs: Tensor, labels: Tensor) -> Tensor:
        if kind_of(labels) == "numbers":
            return of(aligned(outputs, labels), labels.to(outputs.dtype))
        if outputs.dim() < 2:
            return of(outputs, labels.to(outputs.dtype))
        targets = F.one_hot(labels, outputs.shape[1]).movedim(-1, 1)
        return of(outputs, targets.to(outputs.dtype))

    return mean


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape != labels.shape:
        raise StudyError(
            f"bce takes one output for each label, such as suc gives, got outputs of shape {tuple(outputs.shape)} for "
            f"labels of shape {tuple(labels.shape)}: use cross_entropy or mse."
        )
    return F.binary_cross_entropy(outputs, labels.to(outputs.dtype))


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    # A function of this package: the module of any other is taken for code of the user's own.
    return F.cross_entropy(outputs, labels)


LOSSES = known_by_name(
    {
        "bce": Loss(_binary_cross_entropy, only="classes"),
        "cross_entropy": Loss(_cross_entropy, only="classes"),
        "huber": Loss(_error(F.huber_loss)),
        "l1": Loss(_error(F.l1_loss)),
        "mse": Loss(_error(F.mse_loss)),
    }
)


def register_loss(function: LossT) -> LossT:
    """Register a function of your own as a loss, by its name, for ``loss:`` in a study file.

    It is called with outputs and targets, and returns their mean loss, 0-dim. For numbers to predict the outputs have
    the shape of the targets.

    Args:
        function: Function (outputs, targets) -> mean loss, through which PyTorch can differentiate.
    Returns:
        Same function.
    Raises:
        SpecError: the name is that of another loss, or no name that a file can hold.
        RuleTypeError: the argument is no function with a name.
    Example:
        >>> @register_loss
        ... def log_cosh(outputs, targets):
        ...     return (outputs - targets).cosh().log().mean()
    """
    name = name_for("loss", function, {known: loss.mean for known, loss in LOSSES.items()})

    @wraps(function)
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        found = function(aligned(outputs, targets), targets)
        if not isinstance(found, Tensor) or found.dim() or not found.is_floating_point():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise StudyError(f"The loss {name} gives {described(found)}: expected a tensor of one number, their mean.")
        return found

    LOSSES[name] = Loss(mean)
    return function


def name_for(kind: str, function: object, known: dict[str, Compared]) -> str:
    """Name under which a function of the user's own is registered: not that of another one, but for its new version."""
    name = getattr(function, "__name__", "")
    if not callable(function) or not is_name(name):
        raise RuleTypeError(f"Register a function with a name of its own as a {kind}, got {shown(function)}.")
    if name in known and (known[name].__module__, known[name].__qualname__) != (
        function.__module__,
        function.__qualname__,
    ):
        raise SpecError(f"The {kind} {name!r} exists already ({known[name].__module__}). Rename yours.")
    return name


def described(value: object) -> str:
    """Value for a message: a tensor by its shape."""
    shape = getattr(value, "shape", None)
    return shown(value) if shape is None else f"values of shape {tuple(shape)}"
