"""Places of buffers in one block of memory, in which buffers that do not live at the same time overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

EXHAUSTIVE = 6
"""Number of buffers up to which every order is tried."""


@dataclass(frozen=True)
class Buffer:
    """Buffer that lives from one stage to another.

    Args:
        name: Name.
        size: Bytes.
        first, last: Indices of the stages in which it lives, both included.
    """

    name: str
    size: int
    first: int
    last: int


def least(buffers: Sequence[Buffer]) -> int:
    """Bytes that live at once in the fullest stage, below which no block can be."""
    stages = {buffer.first for buffer in buffers}
    return max((sum(b.size for b in buffers if b.first <= stage <= b.last) for stage in stages), default=0)


def placed(buffers: Sequence[Buffer]) -> tuple[dict[str, int], int]:
    """Offset of each buffer and bytes of the block, the fewest that were found.

    Args:
        buffers: Buffers, of sizes that are multiples of the alignment.
    """
    bound = least(buffers)
    orders = [
        sorted(buffers, key=lambda buffer: (-buffer.size, buffer.first)),
        sorted(buffers, key=lambda buffer: (buffer.first, -buffer.size)),
        sorted(buffers, key=lambda buffer: (-buffer.last, -buffer.size)),
        sorted(buffers, key=lambda buffer: (buffer.first - buffer.last, -buffer.size)),
    ]
    if len(buffers) <= EXHAUSTIVE:
        orders += map(list, permutations(buffers))
    best: tuple[dict[str, int], int] | None = None
    for order in orders:
        found = _in_order(order)
        if best is None or found[1] < best[1]:
            best = found
        if best[1] == bound:
            break
    assert best is not None
    return best


def _in_order(order: Sequence[Buffer]) -> tuple[dict[str, int], int]:
    """Each buffer in the lowest gap that is free for as long as it lives."""
    offsets: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in order:
        busy = sorted(
            (offsets[other.name], offsets[other.name] + other.size)
            for other in done
            if other.first <= buffer.last and buffer.first <= other.last
        )
        at = 0
        for start, end in busy:
            if start - at >= buffer.size:
                break
            at = max(at, end)
        offsets[buffer.name] = at
        done.append(buffer)
    return offsets, max((offsets[buffer.name] + buffer.size for buffer in order), default=0)
