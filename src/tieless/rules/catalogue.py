"""Catalogue of rules in words: docstring, memory and cost of each rule, the latter two found beside forwards."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import MISSING, fields
from typing import cast

from tieless.errors import RuleTypeError, RuleValueError, SpecError, UntrainableError
from tieless.forwards import forward
from tieless.forwards.advice import FEW_BITS, TASKS, TIED, Task
from tieless.registry import Named
from tieless.rules.base import Family, Rule, rule, rules
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

FAMILIES: dict[Family, str] = {
    "slope": "Slopes: multipliers in place of the derivative",
    "jam": "Jams: random multipliers",
    "transform": "Transforms: changes of the incoming gradient alone",
}

# One forward of each kind: nothing stored, a bit, y, z, and no derivative at all; and the one that goes with resilu2.
_FORWARDS = ("linear", "leaky_relu", "tanh", "gelu", "heaviside", "silu")
# Numbers for parameters without a default.
_NUMBERS = (0.5, 1, 2, 3, 4)
_EXAMPLES: dict[str, float] = {"clip_norm": 5, "few_bit": 3, "noise": 0.2, "quantize": 3, "rotate": 30}
"""Numbers for rules of which the first of the above would show little."""

_HEADING = re.compile(r"^(Args|Attributes|Example|Raises|Shape|Source|Use):$", re.MULTILINE)
_FLOAT32 = 32
_NOTHING = "nothing, or a product"


def by_family() -> dict[str, list[type[Rule]]]:
    """Registered rules under the title of their family; both in the order in which they are shown.

    Example:
        >>> from tieless.rules.catalogue import by_family
        >>> [title.partition(":")[0] for title in by_family()]
        ['Slopes', 'Jams', 'Transforms']
    """
    return {title: [cls for cls in rules().values() if cls.family == family] for family, title in FAMILIES.items()}


def advised(name: str) -> tuple[Task, ...]:
    """Rules to start with for a task, such as ``"spiking"``, or for a forward, best first.

    Raises:
        SpecError: the name is that of no task, and no forward can be read from it.
    Example:
        >>> from tieless.rules.catalogue import advised
        >>> [advice.spec for advice in advised("binary")[0].rules]
        ['rectangular(-1, 1)', 'triangular(1, height=2)']
        >>> [advice.spec for advice in advised("round")[0].rules]
        ['constant', 'rectangular(-8, 8)']
    """
    if found := tuple(task for task in TASKS if task.name == name):
        return found
    try:
        half = forward(name)
    except SpecError as error:
        tasks = ", ".join(dict.fromkeys(task.name for task in TASKS))
        raise SpecError(f"{error} A task is one of: {tasks}.") from error
    if found := tuple(task for task in TASKS if task.forward is not None and half == forward(task.forward)):
        return found
    advice = half.trained_by() if half.derivative() is None else (TIED, FEW_BITS)
    return (Task("", "any network", str(half), advice, "nothing, for this forward"),)


def bits_of(spec: str, name: str) -> int:
    """Number of bits that a rule stores per element of a float32 ``z`` beside one forward.

    Example:
        >>> from tieless.rules.catalogue import bits_of
        >>> bits_of("few_bit(2)", "gelu"), bits_of("full_jam >> gated", "relu")
        (2, 1)
    """
    half = forward(name)
    return sum(_bits(part.needs(half)) for part in rule(spec).parts())


def sections(cls: type[Named]) -> dict[str, str]:
    """Parts of a docstring by their headings; the text before them has the empty one.

    Example:
        >>> from tieless.rules.catalogue import sections
        >>> sections(tl.Frozen)["Use"]
        'To see what the layers above learn alone.'
    """
    parts = _HEADING.split(inspect.getdoc(cls) or "")
    found = dict(zip(["", *parts[1::2]], [parts[0], *parts[2::2]], strict=True))
    return {heading: inspect.cleandoc(text).replace("``", "`") for heading, text in found.items()}


def example(cls: type[Rule]) -> Rule:
    """Rule at its defaults; parameters without a default get numbers that show its effect.

    Raises:
        RuleValueError: a parameter without a default has no such number.
    Example:
        >>> from tieless.rules.catalogue import example
        >>> example(tl.ATan), example(tl.Rotate)
        (ATan(width=1, height=1), Rotate(degrees=30))
    """
    if cls.name in _EXAMPLES:
        make = cast("Callable[..., Rule]", cls)
        return make(_EXAMPLES[cls.name])
    for value in _values(cls):
        return value
    raise RuleValueError(f"{cls.name} has parameters without a default. Write them: '{cls.name}(...)'.")


def bits_kept(cls: type[Rule]) -> str:
    """Number of bits that a rule stores per element of a float32 ``z``: a number, or a range.

    The memory of a rule may depend on its parameters and on the forward. A jam stores a key of 64 bits per call as
    well.

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
    """Work of a backward pass through a rule, in words.

    Example:
        >>> from tieless.rules.catalogue import cost
        >>> [cost(tl.rules()[name]) for name in ("rectangular", "atan", "circ", "full_jam", "few_bit")]
        ['a pass over bits', 'one pass', "PyTorch's operations", 'one pass, with random numbers', 'a pass over bits']
    """
    found = {_words(form, cls) for _, form in _uses(cls)}
    if len(found) > 1:
        found.discard(_NOTHING)  # the cost of other rules beside a linear forward
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
    """Needs and slope form of a rule at its defaults, beside each forward that it goes with."""
    for value, name in itertools.product(_values(cls), _FORWARDS):
        with suppress(RuleValueError, UntrainableError):
            yield value.needs(forward(name)), value.slope(forward(name))


def _values(cls: type[Rule]) -> Iterator[Rule]:
    wanting = [parameter.name for parameter in fields(cls) if parameter.default is MISSING]
    for number in _NUMBERS if wanting else _NUMBERS[:1]:
        with suppress(RuleTypeError, RuleValueError):
            yield cls(**dict.fromkeys(wanting, number))
