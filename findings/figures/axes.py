"""Axes that figures of the findings share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

QUIET = "#8a8f98"
"""Colour of lines for comparison."""
OPTIMISERS = ("sgd", "adam", "adam(weight_decay=0.01)", "direction_first")
"""Optimisers in the order of panels."""


def bare(axes: Any, *more: str) -> None:
    """Hide the frame of a panel above, on the right, and on further sides."""
    axes.spines[["top", "right", *more]].set_visible(False)


def points_ticks(points: Sequence[int]) -> list[str]:
    """Labels of ticks in points, with their signs."""
    return [f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in points]


def names_down(axes: Any, names: Sequence[str]) -> None:
    """Draw lines of small names from 0 downwards on the vertical axis."""
    axes.set_yticks([-place for place in range(len(names))], names, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-len(names) + 0.4, 0.6)


def points_across(axes: Any) -> None:
    """Set a horizontal axis of points from -100 to 100, with room for small values."""
    axes.set_xscale("symlog", linthresh=2, linscale=0.6)
    axes.set_xlim(-100, 100)
    ticks = (-50, -10, -2, 0, 2, 10, 50)
    axes.set_xticks(ticks, points_ticks(ticks))
    axes.minorticks_off()
    axes.axvline(0, color=QUIET, linewidth=0.8, clip_on=False)


def key_below(figure: Any, handles: Sequence[Any], labels: Sequence[str] | None = None) -> None:
    """Draw a small key below all panels."""
    given = {} if labels is None else {"labels": labels}
    figure.legend(handles=handles, **given, loc="outside lower center", ncols=4, frameon=False, fontsize=7)
