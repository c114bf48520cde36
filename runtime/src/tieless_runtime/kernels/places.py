"""Places of windows in memory, one row of a product after another."""

# pyright: basic, reportMissingTypeStubs=false
# (numba has no types)

from __future__ import annotations

import numba

# Numbers that say where rows lie: places from top to bottom and from side to side, bytes from a place to that at its side,
# and what is added behind the last place of a line and behind the last line of an image.
HEIGHT, WIDTH, SIDE, LINE, IMAGE = range(5)


@numba.njit(nogil=True, cache=True)
def following(address, side, top, steps):
    """Address of the next row, and its place from side to side and from top to bottom."""
    address += steps[SIDE]
    side += 1
    if side == steps[WIDTH]:
        side = 0
        top += 1
        address += steps[LINE]
        if top == steps[HEIGHT]:
            top = 0
            address += steps[IMAGE]
    return address, side, top
