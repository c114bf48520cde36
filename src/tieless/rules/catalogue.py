"""The catalogue in words: what each rule keeps and costs, found by asking it beside a forward of each kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import MISSING, fields

from tieless.errors import RuleTypeError, RuleValueError, UntrainableError
from tieless.forwards import forward
from tieless.rules.base import Family, Rule, rules
from tieless.slopes import (
    Codes,
    FixedSlope,
    LevelSlope,
    NamedSlope,
    NativeSlope,
    Need,
    SlopeForm,
    TwoValuedSlope,
    Window,
)

__all__ = ["FAMILIES", "bits_kept", "by_family", "cost"]

FAMILIES: dict[Family, str] = {
    "slope": "Slopes: what the feedback is multiplied with, in the place of the derivative",
    "jam": "Jams: random slopes",
    "transform": "Transforms: of the feedback alone",
}

# One of each kind: nothing kept, a bit, y, z, and no derivative at all.
_FORWARDS = ("linear", "leaky_relu", "tanh", "gelu", "heaviside")
# For parameters without a default.
_NUMBERS = (0.5, 1, 2, 3, 4)
_FLOAT32 = 32
_NOTHING = "nothing, or a product"


def by_family() -> dict[str, list[type[Rule]]]:
    """Every registered rule, under the title of its family; both in the order in which they are shown.

    Example:
        >>> from tieless.rules.catalogue import by_family
        >>> [title.partition(":")[0] for title in by_family()]
        ['Slopes', 'Jams', 'Transforms']
    """
    return {title: [cls for cls in rules().values() if cls.family == family] for family, title in FAMILIES.items()}


def bits_kept(cls: type[Rule]) -> str:
    """How many bits an element of a float32 ``z`` a rule keeps: a number, or from which to which.

    A rule's needs may depend on its parameters and on the forward. Beside the bits a jam keeps a key of 64 bits a call.

    Example:
        >>> from tieless.rules.catalogue import bits_kept
        >>> [bits_kept(tl.rules()[name]) for name in ("constant", "rectangular", "few_bit", "atan", "tied")]
        ['0', '1', '0-4', '32', '0-32']
    """
    found = sorted({_bits(need) for need, _ in _uses(cls)})
    if not found:
        return "?"
    return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def cost(cls: type[Rule]) -> str:
    """What a backward pass through a rule is made of, in words.

    Example:
        >>> from tieless.rules.catalogue import cost
        >>> [cost(tl.rules()[name]) for name in ("rectangular", "atan", "circ", "full_jam", "few_bit")]
        ['a pass over bits', 'one pass', "PyTorch's operations", 'one pass, with random numbers', 'a pass over bits']
    """
    found = {_words(form, cls) for _, form in _uses(cls)}
    if len(found) > 1:
        found.discard(_NOTHING)  # what other rules come to beside a linear forward
    return found.pop() if len(found) == 1 else "that of the forward's derivative" if found else "?"


def _words(form: SlopeForm | None, cls: type[Rule]) -> str:
    if form is None:
        return "one pass, with random numbers" if cls.family == "jam" else "PyTorch's operations"
    if isinstance(form, FixedSlope):
        return _NOTHING
    if isinstance(form, (TwoValuedSlope, LevelSlope)):
        return "a pass over bits"
    return "one pass" if isinstance(form, (NamedSlope, NativeSlope)) else "PyTorch's operations"


def _bits(need: Need) -> int:
    if need is None:
        return 0
    if isinstance(need, Window):
        return 1
    return len(need.boundaries).bit_length() if isinstance(need, Codes) else _FLOAT32


def _uses(cls: type[Rule]) -> Iterator[tuple[Need, SlopeForm | None]]:
    """What a rule needs, and its form, at its defaults beside each forward that it goes with."""
    for value, name in itertools.product(_values(cls), _FORWARDS):
        with suppress(RuleValueError, UntrainableError):
            yield value.needs(forward(name)), value.slope(forward(name))


def _values(cls: type[Rule]) -> Iterator[Rule]:
    wanting = [parameter.name for parameter in fields(cls) if parameter.default is MISSING]
    for number in _NUMBERS if wanting else _NUMBERS[:1]:
        with suppress(RuleTypeError, RuleValueError):
            yield cls(**dict.fromkeys(wanting, number))
