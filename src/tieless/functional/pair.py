"""Pair of a forward and a backward rule, with what follows from both."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.jit._trace import TracerWarning

from tieless import ops
from tieless._kinds import Halves
from tieless.draws import FORWARD_STREAM, Random
from tieless.errors import RuleTypeError, TransformError
from tieless.forwards import Elementwise, Forward, ForwardLike, forward as forward_of
from tieless.forwards.base import remembered_by_forward
from tieless.functional.checks import checked, floating, unlearned
from tieless.kernels.reference import FORWARDS
from tieless.rules import Rule, RuleLike, Tied, rule as rule_of
from tieless.slopes import Codes, LevelSlope, Need, OwnSlope, SlopeForm, TwoValuedSlope, Window

ANCHOR, INPUT, OUTPUT, FIRST_PACKED = range(4)
"""Places among the saved tensors, as the autograd functions order them."""

_PAIRS: weakref.WeakValueDictionary[str, Pair] = weakref.WeakValueDictionary()
"""Existing pairs by their names."""


class Part(NamedTuple):
    """Rule of a chain: its slope if it has one, the saved tensor that it needs, and whether it draws numbers.

    A ``constant`` rule multiplies each element of the gradient with a number that no derivative by ``z`` changes. A
    ``foreign`` rule runs a function that is not ours.

    Example:
        >>> from tieless.functional import pair_of
        >>> [(str(part.rule), part.draws) for part in pair_of("relu", "full_jam >> scale(2)").parts]
        [('full_jam', True), ('scale(2)', False)]
    """

    rule: Rule
    slope: SlopeForm | None
    saved: int | None
    draws: bool
    constant: bool
    foreign: bool


class Plan(NamedTuple):
    """Plan of a forward in one dtype, for direct calls of kernels.

    Args:
        value: Function ``z -> y``, unless kernels compute it.
        kernel: Kernel that makes ``y``, and in the same pass the first packed tensor, if there is any.
        arguments: Arguments of the kernel beside ``z``.
    """

    value: Callable[[Tensor], Tensor]
    kernel: str | None = None
    arguments: tuple[Any, ...] = ()


def _names(text: str) -> Iterator[str]:
    """Name as given, and with a number behind it for pairs whose names have a new meaning since a registration."""
    return itertools.chain([text], (f"{text}, {number}" for number in itertools.count(2)))


class Pair:
    """Forward and rule that go together, with all properties of the pair computed once.

    Attributes:
        forward, rule: Halves of the pair.
        parts: Rules of the chain, each with the place of its saved tensor.
        packed: Windows and codes whose bits are stored, each once.
        read: Windows and codes among these whose bits are read by a function that is not ours.
        keeps_input, keeps_output, draws: True if ``z`` or ``y`` is stored, and if a key is drawn.
        forward_is_random: True if the forward draws random numbers.
        linear: True if the gradient passed down is linear in the incoming one, so that it has a derivative.
        opaque, native: True if the forward is a callable, and if PyTorch's own derivative is enough.
        foreign: True if ``y`` is made by a function that is not ours.
        copies: True if that function may write to its input, or return tensors that other code holds.
        name: Text that all equal pairs have and no other pair. Compilers read it alone, and compare it at each later
            call.
    """

    def __init__(self, forward: Forward, rule: Rule) -> None:
        rules = rule.parts()
        slopes = tuple(part.slope(forward) for part in rules)
        needs: tuple[Need, ...] = tuple(part.needs(forward) for part in rules)
        self.forward = forward
        self.rule = rule
        self.packed = tuple(dict.fromkeys(need for need in needs if isinstance(need, (Window, Codes))))
        self.keeps_input = "input" in needs
        self.keeps_output = "output" in needs
        self.forward_is_random = forward.draws
        self.draws = self.forward_is_random or any(part.draws for part in rules)
        self.keeps_nothing = not any(needs)
        self.parts = tuple(
            Part(
                part,
                slope,
                self._place(need),
                part.draws,
                constant=part.family == "jam" if slope is None else not isinstance(need, str),
                foreign=not (part.is_ours() and (not isinstance(slope, OwnSlope) or slope.owner.is_ours())),
            )
            for part, slope, need in zip(rules, slopes, needs, strict=True)
        )
        self.read = frozenset(
            need
            for part, need in zip(self.parts, needs, strict=True)
            if part.foreign and not isinstance(part.slope, (TwoValuedSlope, LevelSlope))
        )
        self.linear = all(slope is not None or part.linear for part, slope in zip(rules, slopes, strict=True))
        self.native = isinstance(forward, Elementwise) and isinstance(rule, Tied)
        self.opaque = isinstance(forward, Elementwise)
        self.foreign = self.opaque or not (forward.is_ours() or type(forward).body is not Forward.body)
        self.copies = forward.changes if isinstance(forward, Elementwise) else self.foreign
        self._plans: dict[torch.dtype, Plan] = {}
        self.name = next(filter(self._may_be_called, _names(f"{forward} with {rule}")))
        first = _PAIRS.setdefault(self.name, self)
        # Held, so that the name leads to a pair as long as there is one.
        self._first = None if first is self else first

    def _may_be_called(self, name: str) -> bool:
        known = _PAIRS.get(name)
        return known is None or (known.forward, known.rule) == (self.forward, self.rule)

    def _place(self, need: Need) -> int | None:
        """Position of the tensor that a rule needs among the saved tensors; ``_keep`` puts them in this order."""
        if need is None:
            return None
        if isinstance(need, (Window, Codes)):
            return FIRST_PACKED + self.packed.index(need)
        return INPUT if need == "input" else OUTPUT

    def __reduce__(self) -> tuple[object, ...]:
        return pair_of, (self.forward, self.rule)

    def __fx_create_arg__(self, tracer: fx.Tracer) -> fx.Node:
        """Node in a graph of ``torch.fx``, which is source code in the end: the pair is made again from specs."""
        if self.opaque:
            raise TransformError(
                f"torch.fx cannot write the callable {self.forward} into its code. Name a forward, or give its tracer "
                "an is_leaf_module that keeps Activation as it is."
            )
        return tracer.create_node("call_function", pair_of, (str(self.forward), str(self.rule)), {})

    def plan(self, dtype: torch.dtype) -> Plan:
        """Plan of the forward in ``dtype``, made at the first call; refuses parameters without a number in it."""
        plan = self._plans.get(dtype)
        if plan is None:
            plan = self._plans[dtype] = self._make_plan(dtype)
        return plan

    def _make_plan(self, dtype: torch.dtype) -> Plan:
        for half in (self.forward, *self.rule.parts()):
            half.meet_dtype(dtype)
        first, body = self.packed[0] if self.packed else None, self.forward.body(dtype)
        if body is None:
            return Plan(self.value)
        if isinstance(first, Codes):
            return Plan(self.value, "activate_codes", (*body, *first.edges(dtype)))
        if first is None and body[0] in ops.ONE_OPERATION:
            native, parameters = FORWARDS[body[0]], body[1]
            return Plan(partial(_native, native, parameters) if parameters else native)
        return Plan(self.value, "activate", (*body, None if first is None else first.edges(dtype)))

    def value(self, z: Tensor) -> Tensor:
        """Output ``y`` by PyTorch's operations, without a graph."""
        return self.asked(z) if self.foreign else self.forward.value(z)

    def asked(self, z: Tensor, key: Tensor | int | None = None) -> Tensor:
        """Output ``y`` of a function not ours, refused if it depends on parameters, which would get no gradient."""
        with torch.enable_grad():
            y = self.called(z.detach(), key)
        return unlearned(y, self.forward)

    def called(self, z: Tensor, key: Tensor | int | None = None) -> Tensor:
        """Output ``y`` of a function that is not ours, which gets a copy: the memory of ``z`` belongs to other code."""
        given = z.clone() if self.copies else z
        version = None if given.is_inference() else given._version  # noqa: SLF001  (PyTorch documents it, underscore and all)
        y = self.sample(given, key) if self.forward_is_random else self.forward.value(given)
        if version is not None and version != given._version:  # noqa: SLF001
            raise RuleTypeError(
                f"The forward {self.forward} writes to z, which the rule needs as it was. Give a function that is not in place."
            )
        return checked(y, z, self.forward)

    def sample(self, z: Tensor, key: Tensor | int | None) -> Tensor:
        """Output ``y`` of a forward that draws."""
        assert key is not None
        return self.forward.sample(z, Random(key, FORWARD_STREAM))

    def halves(self) -> Halves:
        """Properties that decide which kinds of tensors the pair can be applied to."""
        return Halves(
            name=f"{self.forward} with {self.rule}",
            elementwise=self.forward.elementwise and all(part.is_elementwise() for part in self.rule.parts()),
            trusted=not self.opaque,
            draws=self.draws,
            value=None if self.forward_is_random else self._value_of_floating,
        )

    def _value_of_floating(self, z: Tensor) -> Tensor:
        return self.value(floating(z))

    def exported(self, z: Tensor) -> Tensor:
        """Output ``y`` in a program without rules: with PyTorch's derivative if that is the rule, else with none."""
        tied = isinstance(self.rule, Tied)
        if not self.foreign or self.forward_is_random:
            return self.forward.exported(z if tied else z.detach())
        with warnings.catch_warnings():
            # A trace has one shape, and this compares it: the program cannot get it wrong.
            warnings.simplefilter("ignore", TracerWarning)
            return self.called(z) if tied else self.asked(z)

    def traced_value(self, z: Tensor, key: Tensor | None) -> Tensor:
        """Output ``y`` for a compiler or a transform to trace, with the values that kernels give in eager mode."""
        if self.forward_is_random:
            return self.sample(z, key)
        body = self.forward.body(z.dtype)
        return self.value(z) if body is None else ops.activate(z, *body)


def pair_called(name: str) -> Pair:
    """Existing pair of this name."""
    return _PAIRS[name]


def _native(function: Callable[..., Tensor], parameters: tuple[float, ...], z: Tensor) -> Tensor:
    return function(z, *parameters)


def pair_of(forward: ForwardLike, backward: RuleLike) -> Pair:
    """Both halves as values, checked to fit together.

    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Example:
        >>> pair = pair_of("relu", "full_jam")
        >>> pair.forward, pair.rule
        (Relu(), FullJam(minimum=0, maximum=1, replace='slope'))
    """
    return _pair_of(forward_of(forward), rule_of(backward))


@remembered_by_forward
def _pair_of(forward: Forward, backward: Rule) -> Pair:
    return Pair(forward, backward)
