"""Expected results of a call, by the judge's forwards and rules, and the check of a result."""

from __future__ import annotations

import numpy as np

from tests.judge.forwards import FORWARDS, Call
from tests.judge.numbers import FORMATS, Array, Near
from tests.judge.rules import RULES, Sending
from tests.judge.specs import read

__all__ = ["WrongError", "chain_of", "draws", "judge"]

_SIGNATURES = {name: judged.parameters for name, judged in RULES.items()}
_FORWARD_SIGNATURES = {name: judged.parameters for name, judged in FORWARDS.items()}


class WrongError(AssertionError):
    """Element outside of the range that the docs allow."""


def chain_of(rule: str) -> list[tuple[str, dict]]:
    """Rules of a chain with their parameters."""
    return read(rule, _SIGNATURES)


def forward_of(forward: str) -> tuple[str, dict]:
    """Forward with its parameters."""
    return read(forward, _FORWARD_SIGNATURES)[0]


def draws(forward: str, rule: str) -> bool:
    """True if a call draws a key."""
    return forward_of(forward)[0] == "bernoulli" or any(RULES[name].draws for name, _ in chain_of(rule))


def value(forward: str, z: Array, dtype: str, key: int | None) -> Near:
    """Range that ``y`` may have."""
    name, parameters = forward_of(forward)
    y = FORWARDS[name].value(Call(z, dtype, key, parameters))
    return y.to(FORMATS[dtype]).to(y.format)


def sent(forward: str, rule: str, z: Array, feedback: Array, dtype: str, key: int | None) -> Near:
    """Range of the gradient, or the reason of a refusal. Each rule's result is rounded to the dtype of ``z``."""
    y = value(forward, z, dtype, key)
    g = Near(feedback, None, y.format)
    for stream, (name, parameters) in enumerate(chain_of(rule)):
        call = Sending(z, dtype, key, parameters, stream, forward_of(forward), y)
        g = RULES[name].send(call, g).to(FORMATS[dtype]).to(y.format)
    return g


def judge(what: str, got: Array, near: Near, z: Array) -> None:
    """Raise an error if an element of a result is outside its range.

    A range that ends in NaN says nothing of its element: the docs leave infinity and NaN open, and so does this check.
    """
    low, high = (np.broadcast_to(end, got.shape) for end in (near.low, near.high))
    known = ~(np.isnan(low) | np.isnan(high) | (np.isnan(z) & (what == "y")))
    wrong = known & ~((low <= got) & (got <= high))
    if what == "y":
        wrong |= np.isnan(z) & ~np.isnan(got)
    if wrong.any():
        place = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))[: got.ndim]
        ends = low[place], high[place]
        bounds = f"{ends[0]}" if ends[0] == ends[1] else f"from {ends[0]} to {ends[1]}"
        raise WrongError(
            f"{what}: {wrong.sum()} of {got.size} elements are wrong, the first at {place}, where z is {z[place]}: "
            f"{got[place]}, not {bounds}"
        )
