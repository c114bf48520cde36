"""Model that is still to be built: name and parameters, from the catalogue or from code of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy

from tieless import own
from tieless.errors import RuleTypeError, RuleValueError, TielessError
from tieless.forwards import ForwardLike
from tieless.grammar import parse_call, shown
from tieless.registry import Named, Registry, make, remembered, snake_case
from tieless.rules import RuleLike
from tieless.signature import Maker, class_of, maker_of

_SUPPLIED: tuple[str, ...] = ("forward", "backward", "features", "classes")

ModelT = TypeVar("ModelT", bound=Callable[..., nn.Module])


class ModelSpec(Named):
    """Model that is still to be built: name and shape, without the data's shape or the activations' halves."""

    __slots__ = ()

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        """Build the model.

        Args:
            forward, backward: Forward and backward rule of every activation.
            features: Number of values per sample.
            classes: Number of classes.
        """
        raise NotImplementedError


MODELS: Registry[ModelSpec] = Registry("model")


class WrittenModel(ModelSpec):
    """Model that a class or a function of the user's own makes."""

    __slots__ = ()
    maker: ClassVar[Maker]

    @classmethod
    def takes_halves(cls) -> bool:
        """True if its class or function is given a forward or a backward rule."""
        return not cls.maker.takes.isdisjoint({"forward", "backward"})

    def build(self, forward: ForwardLike, backward: RuleLike, features: int, classes: int) -> nn.Module:
        supplied = dict(zip(_SUPPLIED, (forward, backward, features, classes), strict=True))
        try:
            model = self.maker(supplied, self)
        except TielessError:
            raise
        except (Exception, SystemExit) as error:
            lines = str(error).splitlines() or [""]
            raise RuleValueError(f"{self} cannot be built: {type(error).__name__}: {lines[0].rstrip('.')}.") from error
        if not isinstance(model, nn.Module):
            raise RuleTypeError(f"{self} must make a torch.nn.Module, got {shown(model)}.")
        if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
            raise RuleValueError(
                f"{self} has lazy layers: give each its size, which follows from features and classes."
            )
        return model


def _written(definition: Callable[..., nn.Module], name: str) -> type[WrittenModel]:
    maker = maker_of(definition, _SUPPLIED)
    return class_of(maker, WrittenModel, {"maker": maker, "name": name})


def register_model(definition: ModelT) -> ModelT:
    """Register a class or a function of your own as a model, by its name in snake case, for use in specs.

    A study calls it with those of ``forward``, ``backward``, ``features`` and ``classes`` that it takes, and with the
    parameters of its spec. ``forward`` and ``backward`` are what ``tieless.Activation`` takes, ``features`` is the
    number of values per sample, ``classes`` the number of outputs. If it takes neither half, the activations of the
    model are converted, as by ``tieless.convert``.

    Args:
        definition: Class derived from ``torch.nn.Module``, or function that returns a module. Its other parameters are
            those of the spec: of the type float, int, bool, str or a ``Literal`` of strings, or of the type of their
            default. Others keep their default.
    Returns:
        Same class or function.
    Raises:
        SpecError: the name is taken, or a parameter without a default cannot be written in a spec.
        RuleTypeError: the definition is no class or function.
    Example:
        >>> from tieless.models import build_model
        >>> @register_model
        ... class TwoLayers(nn.Sequential):
        ...     def __init__(self, forward, backward, features, classes, width: int = 16):
        ...         activation = tl.Activation(forward, backward)
        ...         super().__init__(nn.Flatten(), nn.Linear(features, width), activation, nn.Linear(width, classes))
        >>> build_model("two_layers(width=8)", "relu", "full_jam", features=4, classes=3)(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """
    MODELS.register(_written(definition, snake_case(definition)))
    return definition


@remembered
def written_model(code: str, text: str) -> ModelSpec:
    """Model that an object of the user's own makes, by the names of its module and itself, with arguments.

    Raises:
        SpecError: nobody has named the module, it has no such object, or the arguments do not fit.
    """
    call = parse_call(text)
    found: Any = own.find(code, call.name)
    return make(_written(found, f"{code}:{call.name}"), call)
