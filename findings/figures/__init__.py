"""Figures of the findings, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]
from matplotlib.figure import Figure

from findings.figures import claims, measured
from findings.tables import Row
from tieless.report.rule_plot import STYLE, themed

__all__ = ["FIGURES", "draw"]

FIGURES: dict[str, tuple[str, Callable[[Sequence[Row]], Figure]]] = {
    "magnitude": ("magnitude.md", claims.forest),
    "step-functions": ("step-functions.md", claims.forest),
    "jamming": ("jamming.md", claims.by_rule),
    "explosion": ("explosion.md", measured.explosion),
    "lost-mask": ("lost-mask.md", measured.lost_mask),
    "saturation": ("saturation.md", measured.saturation),
    "dead-units": ("dead-units.md", measured.dead_units),
    "signs": ("signs.md", measured.signs),
    "direction": ("direction.md", claims.direction),
    "feedback-weights": ("feedback-weights.md", claims.forest),
    "direction-first": ("direction-first.md", claims.forest),
    "architectures": ("architectures.md", claims.by_network),
    "deep-networks": ("deep-networks.md", measured.deep_networks),
    "thesis-adam": ("thesis-adam.md", claims.forest),
    "which-forwards": ("which-forwards.md", measured.which_forwards),
}
"""Figures by name: the page whose comparisons it shows, and the function that draws it."""


def draw(name: str, rows: Sequence[Row], file: Path) -> None:
    """Draw one figure.

    Args:
        name: Name of the figure, one of ``FIGURES``.
        rows: Comparisons that its page shows.
        file: Path of the figure, an SVG.
    """
    drawn = StringIO()
    with rc_context(STYLE):
        figure = FIGURES[name][1](rows)
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    file.write_text(themed(drawn.getvalue()), encoding="utf-8")
