"""Plot of a rule: its curve, drawn by Matplotlib into an SVG or a PNG file."""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; check() has raised before any use of it.

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tieless._files import write_whole
from tieless._imports import try_import
from tieless.errors import RuleValueError
from tieless.report.rule_curve import DRAWS, Line, RuleCurve

INCHES = (4.2, 2.4)
AXES = (0.11, 0.19, 0.85, 0.67)
"""Left, bottom, width, height of the axes, in parts of the figure."""

_RULE, _BAND, _OUTPUT, _TEXT = "#b0413e", "#e9c6c4", "#8a8f98", "#4a4f57"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],  # it comes with Matplotlib; a list would stand at each number of an SVG
    "svg.fonttype": "none",  # text stays text, in the reader's font
    "svg.hashsalt": "tieless",  # one curve, one file
    "path.simplify": False,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": "#c8ccd2",
    "xtick.color": _TEXT,
    "xtick.major.size": 0,
    "ytick.color": _TEXT,
    "ytick.major.size": 0,
}
"""Matplotlib's settings for a picture of the documentation."""

_ON_DARK = {
    "#ffffff": "none",
    "#000000": "#d5dae0",
    _TEXT: "#d5dae0",
    "#c8ccd2": "#5a616b",
    "#e6e6e6": "#3d434c",
    _OUTPUT: "#9aa4af",
    _RULE: "#ff8d85",
    _BAND: "#6b3b3a",
    "#0072b2": "#58a6f0",
    "#d55e00": "#ff8a3d",
    "#009e73": "#2fc79a",
    "#cc79a7": "#ee9fca",
    "#56b4e9": "#a9dbff",
    "#e69f00": "#f7c455",
    "#1d6fb8": "#6cb6ff",
    "#c2410c": "#ff9b64",
    "#59636e": "#9aa4af",
    "#2e7d32": "#7ee787",
}
"""Colours on dark ground, by those on white."""


def themed(svg: str) -> str:
    """SVG of Matplotlib that follows the reader's theme: without ground, and in other colours where that is dark.

    An image of a page has the page's ``color-scheme``.
    """
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _ON_DARK.items()
        for kind in ("fill", "stroke")
        if f"{kind}: {light}" in svg
    )
    return svg.replace("</style>", f"@media (prefers-color-scheme: dark){{{rules}}}</style>", 1)


def limits(curve: RuleCurve) -> tuple[float, float, float, float]:
    """Axes of a plot: left, right, bottom, top, in units of the curve."""
    lines = [line for line in (curve.output, curve.sent, curve.low, curve.high) if line is not None]
    values = [0.0, 1.0, *(value for line in lines for value in line.y)]
    margin = 0.08 * (max(values) - min(values))
    return curve.sent.x[0], curve.sent.x[-1], min(values) - margin, max(values) + margin


def draw_rule(curve: RuleCurve, path: Path | str) -> None:
    """Write the plot of a rule's curve.

    Args:
        curve: Curve from ``curve_of``.
        path: Path of a file that ends in ``.svg`` or ``.png``; an existing file is replaced.
    Raises:
        MissingExtraError: Matplotlib is not installed.
        RuleValueError: the file ends otherwise.
        OSError: the file cannot be written.
    """
    # Not at the top: it takes longer to import than all else that a command line does.
    with try_import("report") as report_extra:
        from matplotlib import rc_context  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]
        from matplotlib.figure import Figure  # noqa: PLC0415
    report_extra.check()
    target = Path(path)
    kind = target.suffix.lower().removeprefix(".")
    if kind not in {"png", "svg"}:
        raise RuleValueError(f"A plot is written as .svg or .png, got {str(target)!r}.")
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, dpi=200)
        axes = figure.add_axes(AXES)
        left, right, bottom, top = limits(curve)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.locator_params(nbins=6)
        axes.axhline(0, color="#c8ccd2", linewidth=0.6)
        if curve.low is not None and curve.high is not None:
            x, low, high = _together(curve.low, curve.high)
            axes.fill_between(x, low, high, color=_BAND, linewidth=0, label=f"sent, {DRAWS} calls", gid="band")
        if curve.output is not None:
            axes.plot(
                curve.output.x, curve.output.y, color=_OUTPUT, linestyle="--", linewidth=1, label=f"y = {curve.forward}",
                gid="output",
            )  # fmt: skip
        if curve.low is None:
            axes.plot(curve.sent.x, curve.sent.y, color=_RULE, linewidth=1.6, label="sent", gid="sent")
        else:
            axes.plot(
                curve.sent.x[::3], curve.sent.y[::3], color=_RULE, linestyle="", marker=".", markersize=2.5,
                label="sent, one call", gid="sent",
            )  # fmt: skip
        axes.set_xlabel("z, for a feedback of 1" if curve.over == "z" else "feedback, spread evenly over a sample")
        axes.set_title(curve.rule, fontsize=8, family="monospace", loc="left", pad=14)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="upper right", bbox_to_anchor=(0.98, 0.94), ncols=3, frameon=False, fontsize=7)
        metadata = {"Date": None, "Creator": None} if kind == "svg" else None
        image = io.BytesIO()
        figure.savefig(image, format=kind, metadata=metadata)
    drawn = image.getvalue()
    write_whole(target, themed(drawn.decode()).encode() if kind == "svg" else drawn)


def _together(low: Line, high: Line) -> tuple[list[float], list[float], list[float]]:
    """Edges of a band at the positions of either edge."""
    x = sorted({*low.x, *high.x})
    return x, _at(low, x), _at(high, x)


def _at(line: Line, places: list[float]) -> list[float]:
    values: list[float] = []
    right = 1
    for place in places:
        while line.x[right] < place:
            right += 1
        x0, x1, y0, y1 = line.x[right - 1], line.x[right], line.y[right - 1], line.y[right]
        values.append(y0 + (y1 - y0) * (place - x0) / (x1 - x0))
    return values
