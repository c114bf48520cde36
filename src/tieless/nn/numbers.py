"""Numbers that are given as settings: refused in one line where they cannot be what they are meant for."""

from __future__ import annotations

import math

from tieless.errors import RuleTypeError, RuleValueError


def finite(name: str, value: object) -> float:
    """``value``, if it is a finite number."""
    number = _number(name, value)
    if not math.isfinite(number):
        raise RuleValueError(f"{name} must be finite, got {value!r}.")
    return number


def positive(name: str, value: object) -> float:
    """``value``, if it is a finite number above 0."""
    number = _number(name, value)
    if not 0 < number < math.inf:
        raise RuleValueError(f"{name} must be finite and positive, got {value!r}.")
    return number


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RuleTypeError(f"{name} must be a number, got {value!r}.")
    try:
        return float(value)
    except OverflowError:  # an integer that no float can hold
        return math.inf
