"""Axes that figures of the findings share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from findings.blocks.markdown import NAMES

QUIET = "#8a8f98"
"""Colour of lines for comparison."""
OPTIMISERS = ("sgd", "adam", "adam(weight_decay=0.01)", "direction_first")
"""Optimisers in the order of panels."""


WIDTH = 4.4
"""Width of a figure in inches: that of a phone, so that its text keeps its size there."""

_SHORT: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"constant\(1\)", "constant"),
    (r"rectangular\(-([\d.]+), \1\)", "window \N{PLUS-MINUS SIGN}\\1"),
    (r"triangular\(1\)", "triangle"),
    (r"sign\(norm=\"(\w+)\"\) >> full_jam", "signs, norm of each \\1"),
    (r"(full|positive|rectangular)_jam(\(-5, 5\))?", "\\1 jam\\2"),
    (r"rectangular jam\(-5, 5(, )?", "rectangular jam("),
    (r"\((gate=\"feedback\", )?replace=\"magnitude\"\)", ", C"),
    (r"\(gate=\"feedback\"\)", ", B"),
    (r"\(\)", ""),
    (r"alternate\(\"(.+?)\", \"(.+?)\"\)", "\\1 and \\2 in turn"),
    (r" >> gated(\(\))?", ", gated"),
    (r" >> scale\(([\d.]+?)0*\)", " \N{MULTIPLICATION SIGN} \\1"),
    (r"tied through (\w+)", lambda found: found[1].upper()),
    (r" through (\w+)", lambda found: f", {found[1].upper()}"),
    (r"lenet5", "LeNet-5"),
    (r"mlp\((\d+), (\d+)", "MLP(\\1, \\2"),
    (r"bnn_", "binary "),
    (r"\(norm=\"batch\"\)", ", batch norm"),
    (r"(MLP\(\d+, \d+), norm=\"batch\"\)", "\\1), batch norm"),
    (r"ones\((\d+), 0\.5, 2000\)", "Ones, \\1 inputs"),
    (r"ones\((\d+), (0\.\d), 2000\)", "Ones, \\1 inputs, share \\2"),
    (r", suc\b", ""),
    (r"\bdigits\b", "DIGITS"),
    (r" >> centralize\(0\)", ", centred"),
    (r" >> normalize\(per=\"tensor\"\)", ", normalised"),
    (r"resnet\(20, 8\)", "ResNet-20"),
    (r"vit\(32, 3\)", "ViT"),
    (r"gru\(64\)", "GRU"),
    (r"gpt\(32, 3\)", "GPT"),
    (r"snn_cnn\(8, 4\)", "Spiking CNN"),
    (r"^suc\b", "Single unit"),
    (r"lars\(trust=1\)", "LARS"),
    (r"adam\(weight_decay=0\.01\)", "AdamW"),
    (r"\b(direction_first|sign_sgd|adam|sgd|lion|relu|logistic|linear|heaviside)\b", lambda found: NAMES[found[1]]),
)
"""Patterns of a specification, and the words that a figure has for it, in the order in which they are applied."""


def short(spec: str) -> str:
    """Words of a figure for a specification: ``window ±0.5`` for ``rectangular(-0.5, 0.5)``."""
    for pattern, words in _SHORT:
        spec = re.sub(pattern, words, spec)
    return spec


def stacked(panels: int, height: float, **shared: Any) -> tuple[Any, Any]:
    """Figure, and its panels below each other, each so many inches high."""
    figure = Figure(figsize=(WIDTH, panels * height), layout="constrained")
    return figure, figure.subplots(panels, **shared)


def bare(axes: Any, *more: str) -> None:
    """Hide the frame of a panel above, on the right, and on further sides."""
    axes.spines[["top", "right", *more]].set_visible(False)


def points_ticks(points: Sequence[int]) -> list[str]:
    """Labels of ticks in points, with their signs."""
    return [f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in points]


def names_down(axes: Any, names: Sequence[str]) -> None:
    """Draw lines of small names from 0 downwards on the vertical axis."""
    axes.set_yticks([-place for place in range(len(names))], [short(name) for name in names], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-len(names) + 0.4, 0.6)


def points_across(axes: Any, points: Sequence[int] = (-50, -10, -2, 0, 2, 10, 50)) -> None:
    """Set a horizontal axis of points from -100 to 100, with room for small values, and with ticks at some."""
    axes.set_xscale("symlog", linthresh=2, linscale=0.6)
    axes.set_xlim(-100, 100)
    axes.set_xticks(points, points_ticks(points))
    axes.minorticks_off()
    axes.axvline(0, color=QUIET, linewidth=0.8, clip_on=False)


def key_below(figure: Any, handles: Sequence[Any], labels: Sequence[str] | None = None, columns: int = 2) -> None:
    """Draw a small key below all panels."""
    given = {} if labels is None else {"labels": labels}
    figure.legend(handles=handles, **given, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
