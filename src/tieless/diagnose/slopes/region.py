"""Region in which a function of one number is not 0: found to the last digit, and written in the usual notation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, cast

import torch
from torch import Tensor

FADED = 1e-4
"""Fraction of the largest multiplier. A multiplier still below it 1 % inside an edge ran out of digits: no edge."""

MOST_PIECES = 3


class Edge(NamedTuple):
    """End of a piece.

    Args:
        at: Number at the end.
        closed: True if the number belongs to the piece.
    """

    at: float
    closed: bool


class Piece(NamedTuple):
    """Interval; ``None`` for an open end."""

    low: Edge | None
    high: Edge | None


def pieces_of(strength: Callable[[Tensor], Tensor], points: Tensor, known: Collection[float]) -> list[Piece]:
    """Intervals in which ``strength`` is not 0, in order. A single number between two of them is skipped.

    Args:
        strength: Elementwise function from numbers to numbers that are not negative.
        points: First points of the search, float32, ascending. An interval between two of them is not found, and the
            value at the ends is taken to hold beyond them.
        known: Numbers, such as parameters, that are taken as edges in place of their neighbours.
    Example:
        >>> from tieless.diagnose.slopes.region import pieces_of
        >>> pieces_of(lambda z: (1 - z.abs()).clamp(min=0), torch.linspace(-8, 8, 100), ())
        [Piece(low=Edge(at=-1.0, closed=False), high=Edge(at=1.0, closed=False))]
    """
    values = strength(points)
    passing = values > 0
    places = (passing[1:] != passing[:-1]).nonzero().squeeze(1)
    opening = cast("list[bool]", passing[places + 1].tolist())
    before, after = (
        cast("list[float]", side.tolist())
        for side in _neighbours(strength, points[places], points[places + 1], passing[places])
    )
    inner = [last if opens is False else first for last, first, opens in zip(before, after, opening, strict=True)]
    if _fades(strength, inner, opening, points, float(values.max())):
        return [Piece(None, None)]
    pieces: list[Piece] = []
    low: Edge | None = None
    for last, first, opens in zip(before, after, opening, strict=True):
        # Two neighbours, one of which passes: the edge is the known number of the two, else the shorter to write.
        at = min(last, first, key=lambda value: (value not in known, len(f"{value:.9g}")))
        edge = Edge(at, closed=at == (first if opens else last))
        if not opens:
            pieces.append(Piece(low, edge))
        elif pieces and pieces[-1].high is not None and pieces[-1].high.at == at:
            low = pieces.pop().low
        else:
            low = edge
    if bool(passing[-1]):
        pieces.append(Piece(low, None))
    return pieces


def describe(name: str, pieces: list[Piece]) -> str | None:
    """Words for the pieces: ``"-1 <= z <= 1"``, several with "or", ``"nowhere"``; ``None`` if they are everywhere.

    Example:
        >>> from tieless.diagnose.slopes.region import Edge, Piece, describe
        >>> describe("z", [Piece(None, Edge(-1.0, closed=False)), Piece(Edge(0.5, closed=True), None)])
        'z < -1 or z >= 0.5'
    """
    if not pieces:
        return "nowhere"
    if len(pieces) > MOST_PIECES:
        return f"{name} in {len(pieces)} pieces"
    return " or ".join(_in_words(name, piece) for piece in pieces if piece.low or piece.high) or None


def _in_words(name: str, piece: Piece) -> str:
    low, high = piece
    if low is None:
        assert high is not None
        return f"{name} {'<=' if high.closed else '<'} {_short(high.at)}"
    if high is None:
        return f"{name} {'>=' if low.closed else '>'} {_short(low.at)}"
    return f"{_short(low.at)} {'<=' if low.closed else '<'} {name} {'<=' if high.closed else '<'} {_short(high.at)}"


def _short(value: float) -> str:
    return f"{value + 0.0:.6g}"  # -0.0 is written as 0


def _fades(
    strength: Callable[[Tensor], Tensor], inner: list[float], opening: list[bool], points: Tensor, largest: float
) -> bool:
    """True if one of the edges is none: on its inner side the function only becomes too small for its digits."""
    ends = [float(points[0]), *inner, float(points[-1])]
    probes = [
        0.99 * ends[place] + 0.01 * ends[place + 1 if opens else place - 1] for place, opens in enumerate(opening, 1)
    ]
    return bool((strength(points.new_tensor(probes)) < FADED * largest).any())


def _neighbours(
    strength: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, at_low: Tensor
) -> tuple[Tensor, Tensor]:
    """Neighbouring numbers, the lower first, between which each change from ``low`` to ``high`` lies."""
    below, above = _flip(low.view(torch.int32)), _flip(high.view(torch.int32))
    for _ in range(32):
        middle = (below & above) + ((below ^ above) >> 1)  # their mean, rounded down, without overflow
        same = (strength(_flip(middle).view(torch.float32)) > 0) == at_low
        below, above = torch.where(same, middle, below), torch.where(same, above, middle)
    return _flip(below).view(torch.float32), _flip(above).view(torch.float32)


def _flip(bits: Tensor) -> Tensor:
    """Bits of a float32 as an integer in the order of the numbers, and back.

    Halving an interval of these integers halves how many numbers it holds.
    """
    return bits ^ ((bits >> 31) & 0x7FFF_FFFF)
