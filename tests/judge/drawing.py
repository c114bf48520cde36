"""Random programs.

They come from Python's generator: of 300 that Hypothesis draws, which seeks small numbers and varies what it has, two
thirds were others' twins. ``fuzz.simplest`` simplifies a failing program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from tests.judge.circumstances import CIRCUMSTANCES, RARE
from tests.judge.forwards import FORWARDS
from tests.judge.layouts import LAYOUTS
from tests.judge.programs import Program
from tests.judge.rules import RULES

__all__ = ["drawn_by"]

Value = int | float | str
Draw = Callable[[Random], Value]


def _of(*values: Value) -> Draw:
    return lambda chance: chance.choice(values)


def _near(low: float, high: float, *values: Value) -> Draw:
    """Draw of a value of these, or of a number between two with three digits."""
    return lambda chance: chance.choice(values) if chance.random() < 0.5 else round(chance.uniform(low, high), 3)


_POSITIVE = _near(0.05, 20, 0.25, 0.5, 1, 2, 3.5)
_ANY = _near(-3, 3, -1, 0, 0.01, 0.5, 2)

# Keys are parameters' names; if a rule or a forward means something else by one, with its own name before.
_VALUES: dict[str, Draw] = {
    "alpha": _of(0.3, 1, 2),
    "at_zero": _of(0, 1),
    "bits": lambda chance: chance.randint(2, 16),
    "bound": _POSITIVE,
    "center": _ANY,
    "chance": _of("logistic", "clamp"),
    "clip": _POSITIVE,
    "clip.value": _POSITIVE,
    "degrees": _near(0, 180, 0, 30, 90, 180),
    "dim": _of(0, -1, 0, 1),
    "factor": _ANY,
    "few_bit.bits": _of(1, 2, 3, 2, 3, 4),
    "gate": _of("preactivation", "feedback"),
    "height": _POSITIVE,
    "leak": _ANY,
    "left": _POSITIVE,
    "levels": lambda chance: chance.randint(2, 9),
    "max_norm": _POSITIVE,
    "maximum": lambda chance: chance.randint(1, 9),
    "mean": _ANY,
    "negative_slope": _ANY,
    "norm": _of("none", "sample", "tensor"),
    "p": _near(0, 0.95, 0, 0.25, 0.5, 0.9),
    "part": _of("within", "above"),
    "per": _of("sample", "tensor"),
    "period": _POSITIVE,
    "power": _of(0.5, 1, 2, 3),
    "replace": _of("slope", "magnitude", "feedback"),
    "sigma": _of(0, 0.1, 2),
    "step": _POSITIVE,
    "steps": lambda chance: chance.randint(1, 9),
    "ternary_weight.factor": _POSITIVE,
    "terms": lambda chance: chance.randint(1, 5),
    "threshold": _near(0, 5, 0, 0.5, 1),
    "value": _ANY,
    "variance": _POSITIVE,
    "where": _of("large", "nonzero"),
    "width": _POSITIVE,
}
_PAIRS = {"low": "high", "minimum": "maximum"}
_ENDS = (-5, -1, -0.5, 0, 0.3, 1, 2.5)


def _fitting(forward: str) -> list[str]:
    """Rules that go with a forward."""
    trains = FORWARDS[forward].slope is not None
    return sorted(name for name, rule in RULES.items() if (rule.flat or trains) and rule.of in {"", forward})


_FITTING = {forward: _fitting(forward) for forward in FORWARDS}
_OFTEN = sorted(set(CIRCUMSTANCES) - RARE)
_SHAPES = [(), (0,), (0, 3), (2, 3, 0), (8, 8), (8, 1), (5, 8), (8, 5), (3, 4, 4, 4), (2, 8, 3, 3), (1, 5, 1, 8)]
_LARGEST = 2000
"""Largest number of elements of a tensor of several dimensions, each of which has up to 33."""
_SCALES = {"float16": 6, "bfloat16": 80, "float32": 80, "float64": 400}


def _spec(chance: Random, name: str, parameters: dict[str, Value | None]) -> str:
    """Call of a name: all parameters that have no default, and some of the others."""
    given: dict[str, Value] = {}
    some = chance.random() < 0.5
    for word, default in parameters.items():
        if default is not None and not (some and chance.random() < 0.5):
            continue
        if _PAIRS.get(word) in parameters:
            given[word], given[_PAIRS[word]] = sorted(chance.sample(_ENDS, 2))
        elif word not in _PAIRS.values() or not parameters.keys() & _PAIRS:
            given[word] = _VALUES.get(f"{name}.{word}", _VALUES.get(word, _ANY))(chance)
    words = [f'{word}="{value}"' if isinstance(value, str) else f"{word}={value}" for word, value in given.items()]
    return f"{name}({', '.join(words)})" if words else name


def _size(chance: Random) -> int:
    return 8 if chance.random() < 0.3 else chance.randint(1, 33)


def _shape(chance: Random, *, small: bool) -> tuple[int, ...]:
    if chance.random() < 0.2 and not small:
        return chance.choice(_SHAPES)
    if small:
        return chance.choice([(), (0,), (2, 4), (3, 5), (1, 8), *[(_size(chance),)] * 5])
    shape = tuple(_size(chance) for _ in range(chance.randint(1, 4)))
    while math.prod(shape) > _LARGEST:
        shape = shape[1:]
    return shape


def drawn_by(chance: Random) -> Program:
    """Program of any kind. One in a hundred may join halves that do not go together, and has to be refused."""
    forward = chance.choice(sorted(FORWARDS))
    fitting = sorted(RULES) if chance.random() < 0.01 else _FITTING[forward]
    chain = [chance.choice(fitting) for _ in range(chance.choice([1, 1, 2, 3]))]
    circumstance = chance.choice(sorted(RARE) if chance.random() < 0.003 else _OFTEN)
    dtype = chance.choice(sorted(_SCALES))
    return Program(
        forward=_spec(chance, forward, FORWARDS[forward].parameters),
        rule=" >> ".join(_spec(chance, name, RULES[name].parameters) for name in chain),
        dtype=dtype,
        shape=_shape(chance, small=circumstance.startswith("jacrev")),
        layout=chance.choice(sorted(LAYOUTS)),
        sent=chance.choice(["contiguous", *sorted(LAYOUTS), "zero"]),
        circumstance=circumstance,
        seed=chance.randrange(10**6),
        scale=chance.choice([-1, 0, 1]) * _SCALES[dtype] if chance.random() < 0.25 else 0,
        beyond=chance.random() < 0.1,
    )
