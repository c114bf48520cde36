"""Figures of claims: each comparison with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from findings.figures.axes import (
    OPTIMISERS,
    QUIET,
    WIDTH,
    bare,
    key_below,
    names_down,
    points_across,
    points_ticks,
    short,
)
from findings.tables import Row, cosine, dose, runs, varied
from tieless.report.plots import COLOURS, MARKS

GOOD, BAD, OPEN, SAME = (COLOURS[2], "o"), (COLOURS[1], "X"), (QUIET, "s"), (QUIET, "D")
KEY = {"good for the network": GOOD, "bad for the network": BAD, "not shown": OPEN, "identical runs": SAME}
"""Looks of a comparison by what it shows of the network, whatever its claim says."""


def _look(row: Row) -> tuple[str, str]:
    verdict = row.verdict.verdict
    if verdict in {"undecided", "identical"}:
        return OPEN if verdict == "undecided" else SAME
    return GOOD if (verdict == "holds") == (row.claim.relation != "inferior to") else BAD


def _mark(axes: Any, row: Row, place: float) -> None:
    cell = row.verdict.cells[0]
    if cell.differences is None:
        return
    # Where too few pairs give no interval, the point stands alone.
    known = math.isfinite(cell.differences.low)
    low, high = (100 * edge if known else 100 * cell.differences.median for edge in cell.differences.interval)
    low, high = max(-100.0, low), min(100.0, high)
    colour, mark = _look(row)
    margin = row.claim.margin * (-1 if row.claim.relation in {"non-inferior to", "inferior to"} else 1)
    axes.plot([margin], [place], color=QUIET, marker="|", markersize=8, linestyle="", clip_on=False)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt", clip_on=False)
    median = 100 * cell.differences.median
    axes.plot([median], [place], color=colour, marker=mark, markersize=5, linestyle="", clip_on=False)


def _key(figure: Any) -> None:
    handles = [
        figure.axes[0].plot([], [], color=colour, marker=mark, markersize=5, linewidth=1.4, label=shown)[0]
        for shown, (colour, mark) in KEY.items()
    ]
    handles += figure.axes[0].plot([], [], color=QUIET, marker="|", markersize=8, linestyle="", label="margin")
    key_below(figure, handles, columns=3)


_UNDER = re.compile(r".+?( under (?P<under>.+))?")


def forest(rows: Sequence[Row]) -> Figure:
    """Figure with a line for each comparison, a panel for each table and baseline."""
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        # What was not tuned is weaker evidence, and stands in the tables alone.
        if row.claim.candidate != "frozen" and not row.data.endswith("untuned"):
            panels.setdefault((row.data, row.claim.names[1]), []).append(row)
    heads: list[str] = []
    above = None
    for (data, baseline), own in panels.items():
        under = f"{found} " if (found := _shared(own)) else ""
        heads.append(short("\n".join(wrap(f"{under}against {baseline}", 60))))
        if data != above:
            heads[-1] = "\n".join([*wrap(runs(data)[0].title, 60), heads[-1]])
        above = data
    heights = [len(own) + 0.8 * (head.count("\n") + 1) for own, head in zip(panels.values(), heads, strict=True)]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.21 * sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=heights)
    for (axes,), own, head in zip(grid, panels.values(), heads, strict=True):
        apart = varied(own)
        for place, row in enumerate(own):
            _mark(axes, row, -place)
        names_down(axes, [_label(row, apart, f" under {_shared(own)}") for row in own])
        points_across(axes, (-50, 0, 50))
        bare(axes, "left")
        axes.set_title(head, fontsize=8, loc="right")
    grid[-1, 0].set_xlabel("points of test accuracy, with the interval", loc="right")
    _key(figure)
    return figure


def _shared(rows: Sequence[Row]) -> str:
    """Optimiser and rate that the candidates of all comparisons name, as they name them."""
    found = {(_UNDER.fullmatch(row.claim.names[0]) or {"under": None})["under"] for row in rows}
    return (found.pop() if len(found) == 1 else None) or ""


def _label(row: Row, fields: Sequence[str], shared: str) -> str:
    said = [f"{row.settings[field]}" for field in fields]
    if "learning_rate" in fields and row.claim.chosen:
        said[fields.index("learning_rate")] = "its own rate"
    return ", ".join([row.claim.names[0].removesuffix(shared), *(word for word in said if word != "None")])


def by_rule(rows: Sequence[Row]) -> Figure:
    """Figure with a panel for each activation and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.data == "lenet5-claims"]
    return _panels(rows, "forward", ("relu", "linear", "logistic"))


def by_network(rows: Sequence[Row]) -> Figure:
    """Figure with a panel for each network and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.settings["optimiser"] in OPTIMISERS]
    return _panels(rows, "model", tuple(dict.fromkeys(row.settings["model"] for row in rows)))


def _panels(rows: Sequence[Row], field: str, values: Sequence[str]) -> Figure:
    """Panels in a line for each value of a setting, as far as it was run, and a column for each optimiser."""
    values = [value for value in values if any(row.settings[field] == value for row in rows)]
    optimisers = [o for o in OPTIMISERS if any(row.settings["optimiser"] == o for row in rows)]
    rules = list(dict.fromkeys(row.claim.candidate for row in rows))
    figure = Figure(figsize=(WIDTH, 0.9 + len(values) * (0.3 + 0.19 * len(rules))), layout="constrained")
    grid = figure.subplots(len(values), len(optimisers), squeeze=False, sharex=True, sharey=True)
    for line, (panels, value) in enumerate(zip(grid, values, strict=True)):
        for column, (axes, optimiser) in enumerate(zip(panels, optimisers, strict=True)):
            own = [row for row in rows if (row.settings[field], row.settings["optimiser"]) == (value, optimiser)]
            for row in own:
                _mark(axes, row, -rules.index(row.claim.candidate))
            names_down(axes, rules)
            points_across(axes, (-50, 0, 50))
            head = [*([] if line else [optimiser]), "" if column else value]
            axes.set_title("\n".join(map(short, head)), loc="left", fontsize=8)
            bare(axes, "left")
    grid[-1, -1].set_xlabel("points to the baseline, with the interval", loc="right")
    _key(figure)
    return figure


DOSES = {
    "flip": ("share of signs turned", None),
    "rotate": ("degrees", None),
    "drop": ("share of elements dropped", None),
    "noise": ("standard deviation", "log"),
    "quantize": ("bits", "inverse"),
}
"""Unit of each manipulation, and the scale of its axis where that is not linear."""
BY_COSINE = {"flip": "o", "rotate": "^", "drop": "s"}
"""Manipulations whose cosine with the tied gradient does not depend on the gradient, and their marks."""


def direction(rows: Sequence[Row]) -> Figure:
    """Cost of each dose: a panel for each manipulation, a line for each network and optimiser; the last by cosine."""
    figure = Figure(figsize=(WIDTH, 7.4), layout="constrained")
    panels = figure.subplots(3, 2, sharey=True)
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
            _costs(axes, points, looks[line], short(", ".join(line)))
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
        left.set_ylabel("points to tied")
    lines_of, marks_of = (axes.get_legend_handles_labels() for axes in (panels.flat[0], panels.flat[-1]))
    key_below(figure, lines_of[0] + marks_of[0], lines_of[1] + marks_of[1], columns=3)
    return figure


def _by_cosine(
    axes: Any, lines: dict[tuple[str, str], list[Row]], looks: dict[tuple[str, str], dict[str, Any]]
) -> None:
    axes.set_title("by the cosine that is left", loc="left", fontsize=9)
    axes.set_xlabel("cosine behind one activation")
    for name, mark in BY_COSINE.items():
        for line, own in lines.items():
            points = [(cosine(row.claim), row) for row in own if row.data == name]
            _costs(axes, points, {**looks[line], "marker": mark, "linestyle": ""}, "")
        axes.plot([], [], color=QUIET, marker=mark, markersize=4, linestyle="", label=name)
    axes.invert_xaxis()


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
