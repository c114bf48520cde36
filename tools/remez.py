"""Print the coefficients of kernels/lanes/smooth.py: the nearest polynomials to 2^r, and quotients to exp(t^2/2) Phi(-t).

"Nearest" is the least largest relative error, found by Remez's exchange: make the error swing between equal heights at as
many places as there are unknowns, move the places to where the error is largest, and repeat. About a minute.

    python tools/remez.py
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60


def remez(
    function: Callable[[mpf], mpf], low: mpf, high: mpf, above: int, below: int, bend: mpf | None = None
) -> tuple[list[mpf], list[mpf], mpf]:
    """Coefficients above and below the line, the constant term first and 1 below, and the largest relative error.

    Args:
        function: Positive on ``[low, high]``.
        above, below: Degrees.
        bend: Places are spread evenly over ``t / (t + bend)`` rather than over ``t``, as the errors of quotients are.
    """
    count = above + below + 2

    def place(share: mpf) -> mpf:
        if bend is None:
            return low + (high - low) * share
        bent = share * high / (high + bend)
        return bend * bent / (1 - bent)

    places = [place((1 - mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * count))) / 2) for i in range(count)]
    grid = [place((1 - mpmath.cos(mpmath.pi * i / (60 * count))) / 2) for i in range(60 * count + 1)]
    values = [function(t) for t in grid]
    height, upper, lower = mpf(0), [mpf(0)] * (above + 1), [mpf(1)] + [mpf(0)] * below
    for _ in range(60):
        upper, lower, height = _level(function, places, height, lower, above, high)
        errors = [
            mpmath.polyval(upper[::-1], t) / mpmath.polyval(lower[::-1], t) / value - 1
            for t, value in zip(grid, values, strict=True)
        ]
        peaks = _peaks(grid, errors)
        while len(peaks) > count:
            peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
        places = [t for t, _ in peaks]
        if max(map(abs, errors)) < mpf("1.001") * min(abs(error) for _, error in peaks):
            break
    return upper, lower, max(map(abs, errors))


def _level(
    function: Callable[[mpf], mpf], places: list[mpf], height: mpf, lower: list[mpf], above: int, scale: mpf
) -> tuple[list[mpf], list[mpf], mpf]:
    """The quotient whose relative errors at the places are equal and alternate, and that error."""
    below, count = len(lower) - 1, len(places)
    for _ in range(30):
        matrix, right = mpmath.matrix(count, count), mpmath.matrix(count, 1)
        for row, t in enumerate(places):
            sign, value = (-1) ** row, function(t)
            for power in range(above + 1):
                matrix[row, power] = (t / scale) ** power
            for power in range(1, below + 1):
                matrix[row, above + power] = -value * (1 + sign * height) * (t / scale) ** power
            matrix[row, count - 1] = -sign * value * mpmath.polyval(lower[::-1], t)
            right[row] = value * (1 + sign * height)
        solved = mpmath.lu_solve(matrix, right)
        lower = [mpf(1), *(solved[above + power] / scale**power for power in range(1, below + 1))]
        height += solved[count - 1]
        if abs(solved[count - 1]) < abs(height) * mpf("1e-12"):
            break
    return [solved[power] / scale**power for power in range(above + 1)], lower, height


def _peaks(grid: list[mpf], errors: list[mpf]) -> list[tuple[mpf, mpf]]:
    """Places of the largest error between two changes of its sign, and its size."""
    peaks: list[tuple[mpf, mpf]] = []
    for t, error in zip(grid, errors, strict=True):
        if peaks and (error > 0) == (peaks[-1][1] > 0):
            if abs(error) > abs(peaks[-1][1]):
                peaks[-1] = (t, error)
        else:
            peaks.append((t, error))
    return peaks


def scaled_tail(t: mpf) -> mpf:
    """``exp(t^2 / 2) Phi(-t)``."""
    return mpmath.exp(t * t / 2) * mpmath.erfc(t / mpmath.sqrt(2)) / 2


def main() -> None:
    """Print them for both formats."""
    for name, degree, largest, above in (("float32", 6, "13.2", 4), ("float64", 11, "37.6", 10)):
        exp2, _, error = remez(lambda r: mpf(2) ** r, mpf("-0.5"), mpf("0.5"), degree, 0)
        print(f"{name}\nexp2, relative error {mpmath.nstr(error, 3)}")
        print(*(f"    {mpmath.nstr(number, 20)}" for number in exp2), sep="\n")
        upper, lower, error = remez(scaled_tail, mpf(0), mpf(largest), above, above + 1, mpf(3))
        print(f"above and below, relative error {mpmath.nstr(error, 3)}")
        print(*(f"    {mpmath.nstr(number, 25)}" for number in (*upper, *lower)), sep="\n")
        nearest = mpf(float(mpmath.log(mpmath.e, 2))) if name == "float64" else mpf(_float32(mpmath.log(mpmath.e, 2)))
        print(f"log2e {mpmath.nstr(nearest, 21)} {mpmath.nstr(mpmath.log(mpmath.e, 2) - nearest, 21)}")


def _float32(number: mpf) -> mpf:
    """Of 24 bits; ``number`` is between 1 and 2."""
    return mpmath.nint(number * 2**23) / 2**23


if __name__ == "__main__":
    main()
