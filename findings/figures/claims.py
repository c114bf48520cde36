"""Figures of claims: each comparison with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from findings.blocks.markdown import NAMES
from findings.figures.axes import OPTIMISERS, QUIET, bare, key_below, names_down, points_across, points_ticks
from findings.tables import STUDIES, Row, cosine, dose, runs, varied
from tieless.report.plots import COLOURS, MARKS

VERDICTS = {
    "holds": (COLOURS[2], "o"),
    "does not hold": (COLOURS[1], "X"),
    "undecided": (QUIET, "s"),
    "identical": (QUIET, "D"),
}


def _mark(axes: Any, row: Row, place: float) -> None:
    cell = row.verdict.cells[0]
    if cell.differences is None:
        return
    # Where too few pairs give no interval, the point stands alone.
    known = math.isfinite(cell.differences.low)
    low, high = (100 * edge if known else 100 * cell.differences.median for edge in cell.differences.interval)
    low, high = max(-100.0, low), min(100.0, high)
    colour, mark = VERDICTS[row.verdict.verdict]
    margin = row.claim.margin * (-1 if row.claim.relation in {"non-inferior to", "inferior to"} else 1)
    axes.plot([margin], [place], color=QUIET, marker="|", markersize=8, linestyle="", clip_on=False)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt", clip_on=False)
    median = 100 * cell.differences.median
    axes.plot([median], [place], color=colour, marker=mark, markersize=5, linestyle="", clip_on=False)


def _key(figure: Any) -> None:
    handles = [
        figure.axes[0].plot([], [], color=colour, marker=mark, markersize=5, linewidth=1.4, label=f"claim {verdict}")[0]
        for verdict, (colour, mark) in VERDICTS.items()
    ]
    handles += figure.axes[0].plot([], [], color=QUIET, marker="|", markersize=8, linestyle="", label="margin")
    key_below(figure, handles)


def forest(rows: Sequence[Row]) -> Figure:
    """Figure with a line for each comparison, a panel for each table."""
    rows = [row for row in rows if row.claim.candidate != "frozen"]
    tables = [name for name in STUDIES if any(row.data == name for row in rows)]
    panels = [[row for row in rows if row.data == name] for name in tables]
    titled = len(panels) > 1
    heights = [len(panel) + titled for panel in panels]
    figure = Figure(figsize=(7.6, 0.9 + 0.24 * sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=heights)
    for (axes,), name, panel in zip(grid, tables, panels, strict=True):
        for place, row in enumerate(panel):
            _mark(axes, row, -place)
        apart = varied(panel)
        names_down(axes, [_label(row, apart) for row in panel])
        points_across(axes)
        bare(axes, "left")
        if titled:
            axes.set_title(runs(name)[0].title, fontsize=8, loc="left")
    grid[-1, 0].set_xlabel("points of test accuracy, candidate less baseline, with its interval", loc="right")
    _key(figure)
    return figure


def _label(row: Row, fields: Sequence[str]) -> str:
    said = [NAMES.get(str(row.settings[field]), f"{row.settings[field]}") for field in fields]
    if "learning_rate" in fields and row.claim.chosen:
        said[fields.index("learning_rate")] = "its own rate"
    said = [word for word in said if word != "None"]
    return f"{' to '.join(row.claim.names)}{''.join(f', {word}' for word in said)}"


def by_rule(rows: Sequence[Row]) -> Figure:
    """Figure with a panel for each activation and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.data == "lenet5-claims"]
    return _panels(rows, "forward", ("relu", "linear", "logistic"), width=9, line=0.24)


def by_network(rows: Sequence[Row]) -> Figure:
    """Figure with a panel for each network and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.settings["optimiser"] in OPTIMISERS]
    return _panels(rows, "model", tuple(dict.fromkeys(row.settings["model"] for row in rows)), width=10, line=0.18)


def _panels(rows: Sequence[Row], field: str, values: Sequence[str], *, width: float, line: float) -> Figure:
    """Panels in a line for each value of a setting, as far as it was run, and a column for each optimiser."""
    values = [value for value in values if any(row.settings[field] == value for row in rows)]
    optimisers = [o for o in OPTIMISERS if any(row.settings["optimiser"] == o for row in rows)]
    rules = list(dict.fromkeys(row.claim.candidate for row in rows))
    figure = Figure(figsize=(width, 0.8 + len(values) * (0.5 + line * len(rules))), layout="constrained")
    grid = figure.subplots(len(values), len(optimisers), squeeze=False, sharex=True, sharey=True)
    for panels, value in zip(grid, values, strict=True):
        for axes, optimiser in zip(panels, optimisers, strict=True):
            own = [row for row in rows if (row.settings[field], row.settings["optimiser"]) == (value, optimiser)]
            for row in own:
                _mark(axes, row, -rules.index(row.claim.candidate))
            names_down(axes, rules)
            points_across(axes)
            axes.set_title(f"{NAMES.get(value, value)}, {NAMES[optimiser]}", loc="left", fontsize=9)
            bare(axes, "left")
    for axes in grid[-1]:
        axes.set_xlabel("points to the baseline, with the interval")
    _key(figure)
    return figure


DOSES = {
    "flip": ("share of the signs that are turned", None),
    "rotate": ("degrees", None),
    "drop": ("share of the elements that are dropped", None),
    "noise": ("standard deviation of the noise", "log"),
    "quantize": ("bits", "inverse"),
}
"""Unit of each manipulation, and the scale of its axis where that is not linear."""
BY_COSINE = {"flip": "o", "rotate": "^", "drop": "s"}
"""Manipulations whose cosine with the tied gradient does not depend on the gradient, and their marks."""


def direction(rows: Sequence[Row]) -> Figure:
    """Cost of each dose: a panel for each manipulation, a line for each network and optimiser; the last by cosine."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True)
    shown = [row for row in rows if row.data in DOSES]
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in shown:
        lines.setdefault((str(row.settings["model"]), str(row.settings["optimiser"])), []).append(row)
    looks = {line: {"color": COLOURS[i], "marker": MARKS[i], "linewidth": 1.2} for i, line in enumerate(lines)}
    for axes, (name, (unit, scale)) in zip(panels.flat, DOSES.items(), strict=False):
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_xlabel(unit)
        for line, own in lines.items():
            points = [(dose(row.claim)[1], row) for row in own if row.data == name]
            _costs(axes, points, looks[line], ", ".join(NAMES.get(word, word) for word in line))
        if scale == "log":
            axes.set_xscale("log")
        if scale == "inverse":
            axes.invert_xaxis()
    _by_cosine(panels.flat[-1], lines, looks)
    for axes in panels.flat:
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.axhline(-1, color=QUIET, linewidth=0.8, linestyle=":")
        bare(axes)
        axes.set_yscale("symlog", linthresh=2)
        axes.set_ylim(-100, 3)
        ticks = (-50, -10, -2, -1, 0, 2)
        axes.set_yticks(ticks, points_ticks(ticks))
        axes.yaxis.set_minor_locator(NullLocator())
    for left in panels[:, 0]:
        left.set_ylabel("points to tied, with the interval")
    key_below(figure, *panels.flat[0].get_legend_handles_labels())
    return figure


def _by_cosine(
    axes: Any, lines: dict[tuple[str, str], list[Row]], looks: dict[tuple[str, str], dict[str, Any]]
) -> None:
    axes.set_title("by the direction that is left", loc="left", fontsize=9)
    axes.set_xlabel("expected cosine behind one activation")
    for name, mark in BY_COSINE.items():
        for line, own in lines.items():
            points = [(cosine(row.claim), row) for row in own if row.data == name]
            _costs(axes, points, {**looks[line], "marker": mark, "linestyle": ""}, "")
        axes.plot([], [], color=QUIET, marker=mark, markersize=4, linestyle="", label=name)
    axes.invert_xaxis()
    axes.legend(fontsize=7, frameon=False, loc="lower left")


def _costs(axes: Any, points: Sequence[tuple[float, Row]], look: dict[str, Any], label: str) -> None:
    costs = [(x, row.verdict.cells[0].differences) for x, row in sorted(points, key=lambda point: point[0])]
    found = [(x, cost) for x, cost in costs if cost is not None]
    medians = [100 * cost.median for _, cost in found]
    ends = [cost.interval if math.isfinite(cost.low) else (cost.median, cost.median) for _, cost in found]
    below = [median - 100 * max(-1.0, low) for median, (low, _) in zip(medians, ends, strict=True)]
    above = [100 * min(1.0, high) - median for median, (_, high) in zip(medians, ends, strict=True)]
    axes.errorbar(
        [x for x, _ in found], medians, yerr=[below, above], elinewidth=0.8, markersize=4, label=label, **look
    )
