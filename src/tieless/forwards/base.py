"""What a forward is, the registry of them, and how any elementwise callable becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from tieless import ops
from tieless.errors import RuleTypeError
from tieless.registry import Named, Registry
from tieless.slopes import OwnSlope, SlopeForm
from tieless.spec import parse_call

__all__ = ["Elementwise", "Forward", "ForwardLike", "forward", "forwards", "register_forward"]


class Forward(Named):
    """A function ``z -> y``, elementwise but for those of ``forwards.weights``: the forward half of an activation.

    Subclasses are frozen dataclasses with ``value``, or with ``body`` where kernels know the function, and, where it is
    of use, ``derivative``. ``str`` gives the spec.
    """

    __slots__ = ()

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]] | None:
        """The name that kernels know it by, with its parameters as numbers of ``dtype``; ``None`` if they do not."""
        return None

    def value(self, z: Tensor) -> Tensor:
        """``y``, of the shape, dtype and layout of ``z``. NaN in gives NaN out."""
        body = self.body(z.dtype)
        if body is None:
            raise NotImplementedError
        return ops.activate(z, *body)

    def derivative(self) -> SlopeForm | None:
        """The slope that the rule ``tied`` uses; ``None`` where it is 0 almost everywhere."""
        return None


@dataclass(frozen=True, slots=True)
class Elementwise(Forward):
    """Any elementwise callable as a forward. Its derivative is PyTorch's.

    Args:
        function: ``z -> y`` of one shape and dtype, without parameters that learn.
    Raises:
        RuleTypeError: it is not callable, or a module with parameters.
    """

    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise RuleTypeError(f"A forward is a spec, a Forward or an elementwise callable, got {self.function!r}.")
        if isinstance(self.function, nn.Module) and any(True for _ in self.function.parameters()):
            raise RuleTypeError(
                f"{type(self.function).__name__} has parameters, and a backward rule would send them no gradient. "
                "Give a forward without parameters."
            )

    def value(self, z: Tensor) -> Tensor:
        return self.function(z)

    def derivative(self) -> SlopeForm:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """PyTorch's derivative at ``z``."""
        y, pull = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]", torch.func.vjp(self.function, value))
        return pull(torch.ones_like(y))[0]

    def __str__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


ForwardLike = str | Forward | Callable[[Tensor], Tensor]

_REGISTRY: Registry[Forward] = Registry("forward")


def register_forward(cls: type[Forward]) -> type[Forward]:
    """Make a forward known by its name, so that specs can use it.

    Args:
        cls: A frozen dataclass derived from ``Forward``. Its name is its class name in snake case.
    Raises:
        SpecError: the name is taken.
    """
    _read.cache_clear()
    return _REGISTRY.register(cls)


def forwards() -> Mapping[str, type[Forward]]:
    """All forwards by name, sorted.

    Example:
        >>> "heaviside" in forwards()
        True
    """
    return _REGISTRY.catalogue()


def forward(spec: ForwardLike) -> Forward:
    """The forward that a spec, a forward or an elementwise callable stands for.

    Args:
        spec: ``"leaky_relu(0.1)"``, a ``Forward``, or a callable ``z -> y``.
    Raises:
        SpecError: the spec cannot be read, or names what does not exist.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> forward("leaky_relu(0.1)")
        LeakyRelu(negative_slope=0.1)
    """
    if isinstance(spec, Forward):
        return spec
    if isinstance(spec, str):
        return _read(spec)
    return Elementwise(spec)


@lru_cache
def _read(spec: str) -> Forward:
    return _REGISTRY.build(parse_call(spec))
