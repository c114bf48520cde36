"""Backward rules (surrogate gradients): their base class, chains of them, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, cast, overload

from torch import Tensor

from tieless.draws import Random
from tieless.errors import RuleTypeError
from tieless.forwards import Forward
from tieless.grammar import shown
from tieless.registry import Named, Registry, loadable
from tieless.signature import Function, class_of, companion_of, same_shape, signature_of
from tieless.slopes import Need, OwnSlope, SlopeForm

Family = Literal["slope", "jam", "transform"]


class Rule(Named):
    """Backward rule (surrogate gradient): map (grad_output, z) -> grad_input, as a frozen value without state.

    Subclasses are frozen dataclasses. A rule that multiplies the incoming gradient (feedback, ``grad_output``) has
    ``slope``, the multiplier in place of the derivative, which also says what is stored; any other rule has
    ``feedback`` and, if it uses the forward pass, ``needs``. ``a >> b`` sends the gradient through ``a``, then ``b``;
    ``str`` gives the spec.
    """

    __slots__ = ()
    family: ClassVar[Family] = "slope"
    draws: ClassVar[bool] = False
    """True if the rule draws random numbers, so that the call needs a key."""

    @property
    def linear(self) -> bool:
        """True if ``feedback`` is linear in ``grad_output``, or affine; then it can be differentiated.

        A rule with a ``slope`` is linear, whatever this property says.
        """
        return False

    def slope(self, forward: Forward) -> SlopeForm | None:
        """Multiplier of the incoming gradient beside ``forward``; ``None`` if the rule is no multiplication."""
        return None

    def needs(self, forward: Forward) -> Need:
        """Tensor that must be stored in the forward pass; none by default."""
        slope = self.slope(forward)
        return None if slope is None else slope.needs

    def is_elementwise(self) -> bool:
        """True if each element of the result follows from that element of ``grad_output`` and of ``z`` alone.

        A slope always is elementwise. A rule with ``feedback`` of its own says so itself: otherwise nested, sparse and
        distributed tensors, whose elements cannot see each other, are refused or gathered.
        """
        return type(self).feedback is Rule.feedback

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        """Gradient passed down, for a rule that has no ``slope``.

        Args:
            grad_output: Incoming gradient dL/dy, ``(...)``.
            kept: Tensor that ``needs`` named: packed bits (uint8), ``z`` or ``y``; ``None`` if none.
            random: Random numbers, if the rule ``draws``.
        Raises:
            RuleTypeError: the rule has neither ``slope`` nor ``feedback``.
        """
        raise RuleTypeError(f"The rule {type(self).__name__} sends nothing: it needs a method slope or feedback.")

    def primitive(self, z: Tensor) -> Tensor | None:
        """Function of ``z`` whose derivative the slope is, if one was given: ``tieless.testing`` compares the two."""
        return None

    def parts(self) -> tuple[Rule, ...]:
        """Rules that the gradient passes, in order: the rule itself, unless it is a chain."""
        return (self,)

    def __rshift__(self, other: object) -> Chain:
        if not isinstance(other, Rule):
            raise RuleTypeError(f"'>>' joins two rules, got {shown(other)} on its right.")
        return Chain(self.parts() + other.parts())


@loadable
@dataclass(frozen=True, slots=True)
class Chain(Rule):
    """Chain of rules, written ``a >> b``: the gradient passes ``a``, then ``b``.

    Args:
        rules: Rules of the chain, at least two, none of them a chain.
    Raises:
        RuleTypeError: there are fewer than two rules, or one of them is no rule.
    Example:
        >>> chain = tl.rule("full_jam >> gated")
        >>> str(chain), len(chain.rules)
        ('full_jam >> gated', 2)
        >>> chain == tl.FullJam() >> tl.Gated()
        True
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not _are_single(self.rules):
            raise RuleTypeError(
                f"A chain holds a tuple of two or more single rules, got {shown(self.rules)}. Join rules with '>>'."
            )

    def parts(self) -> tuple[Rule, ...]:
        return self.rules

    def __str__(self) -> str:
        return " >> ".join(str(part) for part in self.rules)


def _are_single(rules: object) -> bool:
    if not isinstance(rules, tuple) or len(cast("tuple[object, ...]", rules)) < 2:
        return False
    return all(isinstance(one, Rule) and not isinstance(one, Chain) for one in cast("tuple[object, ...]", rules))


class WrittenRule(Rule):
    """Rule that was registered as one function: a slope of ``z``, or of ``y``, in PyTorch's operations."""

    __slots__ = ()
    _wide: ClassVar[bool] = True
    written: ClassVar[Function]
    antiderivative: ClassVar[Function | None] = None

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, self.written.reads)

    def slope_at(self, value: Tensor) -> Tensor:
        """Function at ``value``, of its shape and dtype."""
        return same_shape(self.written(value, self), value, self)

    def primitive(self, z: Tensor) -> Tensor | None:
        return None if self.antiderivative is None else same_shape(self.antiderivative(z, self), z, self)


RuleLike = str | Rule
RuleClass = TypeVar("RuleClass", bound="type[Rule]")
Slope = Callable[..., Tensor]

_REGISTRY: Registry[Rule] = Registry("rule", Chain)


@overload
def register_rule(definition: RuleClass) -> RuleClass: ...
@overload
def register_rule(definition: Slope) -> type[Rule]: ...
@overload
def register_rule(*, primitive: Slope | None = None) -> Callable[[Slope], type[Rule]]: ...
def register_rule(definition: Any = None, *, primitive: Slope | None = None) -> Any:
    """Register a backward rule (surrogate gradient) by its name, from a function or a class, for use in specs.

    The function gives the slope (multiplier), elementwise, in PyTorch's operations: ``def bump(z, width: float =
    1.0)``. The decorated name then is a class like those of the built-in rules: ``bump(2)`` is a frozen value,
    ``"bump(2)"`` its spec, and it works with compile, vmap, checkpoint, pickle and export as they do. ``z`` is stored;
    if the first parameter is named ``y``, the forward's output is stored and passed instead. Half types come as
    float32, and the product is rounded once. There is no kernel: the function runs as it is written, an operation at a
    time, or fused by ``torch.compile``.

    Args:
        definition: Function whose other parameters need types (float, int, bool, str or a Literal of strings). Or a
            frozen dataclass derived from ``Rule``, which can also check its parameters (``check``), store less, or do
            something else with the incoming gradient; its name is its class name in snake case.
        primitive: Function whose derivative the slope is, with the same parameters, for ``tieless.testing``.
    Raises:
        SpecError: the name is taken, or a parameter cannot be written in a spec.
        RuleTypeError: the definition is neither, or a default has the wrong type.
    Example:
        >>> @tl.register_rule
        ... def hat(z, width: float = 1.0):
        ...     return (1 - (z / width) ** 2).clamp(min=0)
        >>> z = torch.tensor([0.0, 1.0, 3.0], requires_grad=True)
        >>> untie(z, "heaviside", "hat(width=2)").sum().backward(); z.grad
        tensor([1.0000, 0.7500, 0.0000])
        >>> hat(2) == tl.rule("hat(2)"), hat(2)
        (True, hat(width=2))
    """
    if definition is None:

        def decorate(function: Slope) -> type[Rule]:
            return register_rule(_written(function, primitive))

        return decorate
    if not isinstance(definition, type):
        definition = _written(definition, primitive)
    if not issubclass(cast("type", definition), Rule):
        raise RuleTypeError(f"Register a function, or a class derived from Rule, got {shown(definition)}.")
    return _REGISTRY.register(definition)


def _written(function: Slope, primitive: Slope | None) -> type[Rule]:
    written = signature_of(function)
    members = {"written": written, "antiderivative": companion_of(primitive, written)}
    return class_of(written, WrittenRule, members)


def rules() -> Mapping[str, type[Rule]]:
    """Mapping of all rules by name, sorted.

    Example:
        >>> "rectangular" in rules()
        True
    """
    return _REGISTRY.catalogue()


def rule(spec: RuleLike) -> Rule:
    """Backward rule of a spec; a rule stands for itself. ``str`` of it gives the spec back.

    Args:
        spec: Spec such as ``"rectangular(-1, 1) >> noise(0.1)"``, or a ``Rule``.
    Raises:
        SpecError: the spec cannot be read, or has an unknown name.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> rule("rectangular(-1, 1) >> clip_norm(max_norm=1.0)")
        Chain(rules=(Rectangular(low=-1, high=1, height=1), ClipNorm(max_norm=1.0)))
        >>> str(rule("rectangular(-1, 1) >> clip_norm(max_norm=1.0)"))
        'rectangular(-1, 1) >> clip_norm(1.0)'
    """
    if isinstance(spec, Rule):
        if type(spec).__hash__ is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise RuleTypeError(
                f"A rule is a value, and {shown(spec)} can change. Write @dataclass(frozen=True) above it."
            )
        return spec
    if not isinstance(spec, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        hint = f"Make one of the class: {spec.__name__}(...)" if isinstance(spec, type) else "For example 'full_jam'"
        raise RuleTypeError(f"A backward rule is a spec or a Rule, got {shown(spec)}. {hint}.")
    return _REGISTRY.read(spec)
