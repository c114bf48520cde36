"""Checks of the matrix: how one is asked of a pair, and its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.pairs import EVERY_PAIR, Pair
from tieless import untie
from tieless.errors import SecondDerivativeError, TransformError

__all__ = [
    "CLOSE",
    "COMPARISONS",
    "EQUAL",
    "REFUSED",
    "THREE_SIZES",
    "TWO_SIZES",
    "Check",
    "Outcomes",
    "compared",
    "each",
    "feedback_of",
    "gradient",
    "in_graphs",
    "input_of",
    "layers",
    "loss",
    "sizes_of",
    "worst",
]

EQUAL, CLOSE, REFUSED = "equal", "close", "refused"
"""Bit for bit what runs eagerly; within a few units in the last place of it; refused in our own words."""

GRAPH = 20
"""Pairs in one graph: together they compile faster than alone, and larger graphs take longer a pair again."""

Outcomes = dict[Pair, str]
"""For each pair one of the three above, or a sentence that says what went wrong."""


@dataclass(frozen=True)
class Check:
    """One thing that PyTorch does.

    Args:
        title: Title in the matrix.
        asks: Question, for the reader of the matrix.
        run: Function that asks it of pairs.
        most: Number of pairs of its cross-section of which a run of the tests asks it, if not of all: the first ones,
            each of which brings what the others have not.
        missing: Function that names what the machine lacks for it; empty if nothing.
        inputs: Inputs that it asks of a pair.
        times: Number of comparisons of a pair's results, or of refusals.
    """

    title: str
    asks: str
    run: Callable[[Sequence[Pair]], Outcomes]
    most: int | None = None
    missing: Callable[[], str] = str
    inputs: str = "4 x 12 elements"
    times: int = 1


TWO_SIZES = "8 elements, and with another number of them, from 1 to 33"
THREE_SIZES = "8 elements, and with two other numbers of them, from 1 to 33"
_LARGEST = 33


def sizes_of(forward: str, rule: str) -> list[int]:
    """Three sizes to ask of a pair: 8, which is a byte of bits, and two of 1 to 33. Other pairs have others of these."""
    place = EVERY_PAIR.index((forward, rule))
    least = 2 if rule.startswith("rotate") else 1  # one element has no other direction
    return [8, *(max(least, (place * step + step) % _LARGEST + 1) for step in (1, 5))]


COMPARISONS: Counter[str] = Counter()
"""How many there were in this process: of results with others, and of a refusal with its words."""


def input_of(*shape: int) -> Tensor:
    """Pre-activations on both sides of every kink, the same in every call."""
    return torch.randn(shape or (4, 12), generator=torch.Generator().manual_seed(1)) * 2


def layers(forward: str, rule: str, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
    """Two activations in a row, so that a key that went to the wrong one is seen."""
    return lambda z: untie(3 * untie(z, forward, rule, generator=generator), forward, rule, generator=generator)


def loss(y: Tensor) -> Tensor:
    """A loss whose feedback is ``feedback_of(y)``, which no compiler can round in its own way."""
    return (y * feedback_of(y)).sum()


def feedback_of(y: Tensor) -> Tensor:
    """Quarters from -2.25 to 2.25, 0 among them: exact in every dtype, and drawn from no generator."""
    return ((torch.arange(y.numel()).view(y.shape) * 7 % 19 - 9) / 4).to(y.dtype)


def gradient(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Gradient that arrives at ``z``, for one seed."""
    leaf = z.clone().requires_grad_()
    torch.manual_seed(7)
    loss(function(leaf)).backward()
    assert leaf.grad is not None
    return leaf.grad


def compared(got: Tensor, expected: Tensor) -> str:
    """The outcome: ``EQUAL``, ``CLOSE``, or how far off."""
    COMPARISONS["compared"] += 1
    if torch.equal(got, expected):
        return EQUAL
    if got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-5, atol=1e-6):
        return CLOSE
    if got.shape != expected.shape:
        return f"shape {tuple(got.shape)}, not {tuple(expected.shape)}"
    return f"off by {(got - expected).abs().max():.3g}"


def worst(outcomes: Iterable[str]) -> str:
    """The outcome of a question that was asked in several ways."""
    answers = list(outcomes)
    failures = [answer for answer in answers if answer not in {EQUAL, CLOSE, REFUSED}]
    if failures:
        return failures[0]
    if REFUSED in answers and len(set(answers)) > 1:
        return "refused in some ways and not in others"
    return CLOSE if CLOSE in answers else answers[0]


def each(ask: Callable[[str, str], str]) -> Callable[[Sequence[Pair]], Outcomes]:
    """A question for one pair, asked of many."""
    return lambda pairs: {pair: _answer(ask, *pair) for pair in pairs}


def in_graphs(ask: Callable[[Sequence[Pair]], Mapping[Pair, str]]) -> Callable[[Sequence[Pair]], Outcomes]:
    """A question for a graph that holds many pairs. Where it fails, it is asked again of each half, down to one pair."""

    def together(pairs: Sequence[Pair]) -> Outcomes:
        if len(pairs) == 1:
            return {pairs[0]: _answer(lambda *pair: ask([pair])[pair], *pairs[0])}
        try:
            return dict(ask(pairs))
        except Exception:  # noqa: BLE001
            middle = len(pairs) // 2
            return together(pairs[:middle]) | together(pairs[middle:])

    def run(pairs: Sequence[Pair]) -> Outcomes:
        outcomes: Outcomes = {}
        for first in range(0, len(pairs), GRAPH):
            outcomes |= together(pairs[first : first + GRAPH])
        return outcomes

    return run


def _answer(ask: Callable[..., str], *arguments: str) -> str:
    try:
        return ask(*arguments)
    except (SecondDerivativeError, TransformError):
        return REFUSED
    except Exception as error:  # noqa: BLE001
        return _sentence(error)


def _sentence(error: Exception) -> str:
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {''.join(first)}"
