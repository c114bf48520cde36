"""The figures of the findings, drawn by Matplotlib from what the pages show and from measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from finding_data import SAID, STUDIES, Row, cosine, dose, measurements, runs
from finding_tables import NAMES
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from robustness import RULES, cells

from tieless.report.plots import COLOURS, MARKS
from tieless.report.rule_plot import STYLE
from tieless.study import Result, load_study

__all__ = ["FIGURES", "draw"]

QUIET = "#8a8f98"
VERDICTS = {"holds": (COLOURS[2], "o"), "does not hold": (COLOURS[1], "X"), "undecided": (QUIET, "s")}
EARLY = 50
"""Steps up to which every run is still there."""
OPTIMISERS = ("sgd", "adam", "adam(weight_decay=0.01)", "direction_first")
LAYERS = {"0": "conv1", "3": "conv2", "7": "fc1", "9": "fc2"}


def draw(name: str, rows: Sequence[Row], file: Path) -> None:
    """Draw one figure.

    Args:
        name: One of ``FIGURES``.
        rows: Comparisons that its page shows.
        file: Where to; an SVG.
    """
    with rc_context(STYLE):
        figure = FIGURES[name][1](rows)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _difference_axis(axes: Any) -> None:
    """Points from -100 to 100, with room for those near zero."""
    axes.set_xscale("symlog", linthresh=2, linscale=0.6)
    axes.set_xlim(-100, 100)
    ticks = (-50, -10, -2, 0, 2, 10, 50)
    axes.set_xticks(ticks, [f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(0, color=QUIET, linewidth=0.8, clip_on=False)


def _mark(axes: Any, row: Row, place: float) -> None:
    cell = row.verdict.cells[0]
    if cell.differences is None:
        return
    low, high = (100 * max(-1.0, min(1.0, edge)) for edge in cell.differences.interval)
    colour, mark = VERDICTS[row.verdict.verdict]
    margin = row.claim.margin * (-1 if row.claim.relation in {"non-inferior to", "inferior to"} else 1)
    axes.plot([margin], [place], color=QUIET, marker="|", markersize=8, linestyle="", clip_on=False)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt", clip_on=False)
    mean = 100 * cell.differences.mean
    axes.plot([mean], [place], color=colour, marker=mark, markersize=5, linestyle="", clip_on=False)


def _key(figure: Any) -> None:
    handles = [
        figure.axes[0].plot([], [], color=colour, marker=mark, markersize=5, linewidth=1.4, label=f"claim {verdict}")[0]
        for verdict, (colour, mark) in VERDICTS.items()
    ]
    handles += figure.axes[0].plot([], [], color=QUIET, marker="|", markersize=8, linestyle="", label="margin")
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=7)


def forest(rows: Sequence[Row]) -> Figure:
    """A line for each comparison, a panel for each table."""
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
        varied = [field for field in SAID if len({str(row.settings[field]) for row in panel}) > 1]
        axes.set_yticks([-place for place in range(len(panel))], [_label(row, varied) for row in panel], fontsize=7)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-len(panel) + 0.4, 0.6)
        _difference_axis(axes)
        axes.spines[["top", "right", "left"]].set_visible(False)
        if titled:
            axes.set_title(load_study(STUDIES[name]).title, fontsize=8, loc="left")
    grid[-1, 0].set_xlabel("points of test accuracy, candidate less baseline, 95 % interval", loc="right")
    _key(figure)
    return figure


def _label(row: Row, varied: Sequence[str]) -> str:
    said = [NAMES.get(str(row.settings[field]), f"{row.settings[field]}") for field in varied]
    if "learning_rate" in varied and row.claim.chosen:
        said[varied.index("learning_rate")] = "its own rate"
    said = [word for word in said if word != "None"]
    return f"{' to '.join(row.claim.names)}{''.join(f', {word}' for word in said)}"


def by_rule(rows: Sequence[Row]) -> Figure:
    """A panel for each activation and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.data == "lenet5-claims"]
    return _panels(rows, "forward", ("relu", "linear", "logistic"), width=9, line=0.24)


def by_network(rows: Sequence[Row]) -> Figure:
    """A panel for each network and optimiser, a line for each rule, at the rates that were chosen."""
    rows = [row for row in rows if row.settings["optimiser"] in OPTIMISERS]
    return _panels(rows, "model", tuple(dict.fromkeys(row.settings["model"] for row in rows)), width=10, line=0.18)


def _panels(rows: Sequence[Row], field: str, values: Sequence[str], *, width: float, line: float) -> Figure:
    """A line of panels for each value of a setting, as far as it was run, and a column for each optimiser."""
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
            axes.set_yticks([-place for place in range(len(rules))], rules, fontsize=7)
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(-len(rules) + 0.4, 0.6)
            _difference_axis(axes)
            axes.set_title(f"{NAMES.get(value, value)}, {NAMES[optimiser]}", loc="left", fontsize=9)
            axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("points to the baseline, 95 % interval")
    _key(figure)
    return figure


def _over_steps(axes: Any, lines: dict[str, dict[float, list[float]]], title: str, y: str) -> None:
    for number, (label, points) in enumerate(lines.items()):
        steps = sorted(points)
        means = [fmean(points[step]) for step in steps]
        axes.plot(
            steps, means, color=COLOURS[number % len(COLOURS)], marker=MARKS[number % len(MARKS)], markersize=3.5,
            linewidth=1.3, label=label,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("steps")
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, frameon=False)


def _norms(axes: Any, rules: Sequence[str], title: str) -> None:
    """The norm of the gradient of all weights, a line for each seed; a cross where a run ended early."""
    rows = [row for row in measurements("mechanism-layers") if row["study"] == "mechanism/explosion"]
    rows = [row for row in rows if (row["model"], row["learning_rate"], row["layer"]) == ("lenet5", 0.1, "")]
    longest = max(row["step"] for row in rows)
    for number, rule in enumerate(rules):
        for seed in sorted({row["seed"] for row in rows if row["backward"] == rule}):
            own = [row for row in rows if (row["backward"], row["seed"]) == (rule, seed)]
            axes.plot(
                [row["step"] for row in own], [row["norm"] for row in own], color=COLOURS[number], linewidth=1,
                alpha=0.8, label=rule if seed == 0 else None,
            )  # fmt: skip
            if own[-1]["step"] < longest:
                axes.plot(own[-1]["step"], own[-1]["norm"], marker="X", color=COLOURS[number], markersize=7)
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("steps; a cross: diverged before the next measurement")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.legend(fontsize=7, frameon=False, loc="upper right")


def explosion(_rows: Sequence[Row]) -> Figure:
    """How large the gradient becomes: with slopes of the derivative's size, and of the constant's."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    small = ("tied", "positive_jam >> scale(1.7321)", "constant(0.7071)", "full_jam >> scale(1.2247)")
    left, right = figure.subplots(1, 2, sharey=True)
    _norms(left, small, "Slopes as large as the derivative")
    _norms(right, ("tied >> scale(1.4142)", "constant(1)"), "Slopes as large as 1")
    left.set_ylabel("norm of the gradient")
    return figure


def _cosines(axes: Any, study: str, optimiser: str, rules: Sequence[str], until: int, legend: Any = "best") -> None:
    """The cosine by layer, a line for each rule: means over seeds and over steps up to one."""
    rows = [row for row in measurements("mechanism-layers") if (row["study"], row["optimiser"]) == (study, optimiser)]
    for number, rule in enumerate(rules):
        own = [row for row in rows if row["backward"] == rule and row["step"] <= until and row["layer"] != ""]
        cosines = [[row["cosine"] for row in own if row["layer"] == float(layer)] for layer in LAYERS]
        means = [fmean(values) for values in cosines]
        axes.plot(list(LAYERS.values()), means, color=COLOURS[number], marker=MARKS[number], label=rule)
    axes.set_title(f"Cosine with the tied gradient, steps 0 to {until}, {NAMES[optimiser]}", loc="left", fontsize=9)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.axhline(1, color=QUIET, linewidth=0.8)
    axes.legend(fontsize=7, frameon=False, loc=legend)
    axes.spines[["top", "right"]].set_visible(False)


def _seeds(axes: Any, name: str, forward: str, optimiser: str, rules: Sequence[str]) -> None:
    """The test accuracy of each seed, a line for each rule."""
    _, results = runs(name)
    for place, rule in enumerate(rules):
        for result in results:
            trial = result.trial
            if (trial.optimiser, trial.forward, trial.backward) == (
                optimiser,
                forward,
                rule,
            ) and result.status == "done":
                accuracy = 100 * (result.epochs[-1].test_accuracy or 0.0)
                axes.plot([accuracy], [-place], "o", color=COLOURS[0], markersize=4, alpha=0.6)
    axes.set_yticks([-place for place in range(len(rules))], rules)
    axes.set_title(f"Test accuracy of each seed, %, {NAMES[optimiser]}", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def lost_mask(_rows: Sequence[Row]) -> Figure:
    """The cosine by layer under SGD, beside the accuracy of longer runs under Adam."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rules = ("positive_jam", "constant(1)", "full_jam")
    _cosines(left, "mechanism/explosion", "sgd", rules, EARLY)
    _seeds(right, "lenet5-jamming", "relu", "adam", ("tied", *rules))
    return figure


def signs(_rows: Sequence[Row]) -> Figure:
    """The cosine by layer, beside the accuracy of each seed: signs alone, and signs with sizes put back."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rules = (
        "full_jam",
        'sign(norm="sample") >> full_jam',
        'sign(norm="tensor") >> full_jam',
        'full_jam(replace="magnitude")',
    )
    _cosines(left, "mechanism/signs", "adam", rules, 900, legend=(0.02, 0.56))
    _seeds(right, "mechanism-signs", "linear", "adam", ("tied", *rules))
    return figure


def _units(study: str, field: str, factor: float = 1.0, only: int | None = None) -> dict[str, dict[float, list[float]]]:
    """By rule and step: of one activation, or of all."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in measurements("mechanism-health"):
        if row["study"] == study and only in {None, row["activation"]}:
            label = row["backward"] + (", batch norm" if "norm" in row["model"] else "")
            found.setdefault(label, {}).setdefault(row["step"], []).append(factor * row[field])
    return found


def saturation(_rows: Sequence[Row]) -> Figure:
    """How far z spreads, and how much of it lies where the derivative is all but 0."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _over_steps(left, _units("mechanism/saturation", "spread", 1, only=2), "Standard deviation of z, conv2", "z")
    _over_steps(right, _units("mechanism/saturation", "saturated", 100, only=2), "Saturated, conv2", "% of z")
    right.get_legend().remove()
    return figure


def dead_units(_rows: Sequence[Row]) -> Figure:
    """How many units say the same to every image."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _over_steps(left, _units("mechanism/dead-units", "constant", 100), "Units of one answer, mean of four layers", "%")
    _over_steps(right, _units("mechanism/dead-units", "mean"), "Mean of z, mean of four layers", "z")
    right.get_legend().remove()
    return figure


DOSES = {
    "flip": ("share of the signs that are turned", None),
    "rotate": ("degrees", None),
    "drop": ("share of the elements that are dropped", None),
    "noise": ("standard deviation of the noise", "log"),
    "quantize": ("bits", "inverse"),
}
"""What each manipulation is measured in, and the scale of its axis where that is not linear."""
BY_COSINE = {"flip": "o", "rotate": "^", "drop": "s"}
"""Those whose cosine with the tied feedback does not depend on the feedback, and their marks."""


def direction(rows: Sequence[Row]) -> Figure:
    """What each dose costs: a panel for each manipulation, a line for each network and optimiser; the last by cosine."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True)
    shown = [row for row in rows if row.data in DOSES and row.verdict.cells[0].differences is not None]
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
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_yscale("symlog", linthresh=2)
        axes.set_ylim(-100, 3)
        ticks = (-50, -10, -2, -1, 0, 2)
        axes.set_yticks(ticks, [f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
    for left in panels[:, 0]:
        left.set_ylabel("points to tied, 95 % interval")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=7)
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
    found = [(x, row.verdict.cells[0].differences) for x, row in sorted(points, key=lambda point: point[0])]
    means = [100 * differences.mean for _, differences in found]
    below = [100 * (differences.mean - differences.interval[0]) for _, differences in found]
    above = [100 * (differences.interval[1] - differences.mean) for _, differences in found]
    axes.errorbar([x for x, _ in found], means, yerr=[below, above], elinewidth=0.8, markersize=4, label=label, **look)


def which_forwards(_rows: Sequence[Row]) -> Figure:
    """What each rule cost on each forward, over the cosine of its gradient with the tied one after 100 of its own steps."""
    found = cells()
    models = list(dict.fromkeys(cell.group[0] for cell in found))
    figure = Figure(figsize=(9, 3.4 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, sharex=True, sharey=True, squeeze=False)
    for row, model in zip(grid, models, strict=True):
        for axes, optimiser in zip(row, ("sgd", "adam"), strict=True):
            for number, rule in enumerate(RULES):
                own = [cell for cell in found if cell.group == (model, optimiser, rule)]
                at = [cell.properties["alignment @ 100 untied"] for cell in own]
                axes.plot(
                    at,
                    [cell.lost for cell in own],
                    label=rule,
                    color=COLOURS[number],
                    marker=MARKS[number],
                    linestyle="",
                )
            axes.axhline(0, color=QUIET, linewidth=0.8)
            axes.set_title(f"{model}, {NAMES[optimiser]}")
        row[0].set_ylabel("Points lost")
    for axes in grid[-1]:
        axes.set_xlabel("Cosine with the tied gradient after 100 steps")
    first = grid[0][0]
    first.set_yscale("symlog", linthresh=1)
    first.set_ylim(-20, 100)
    ticks = (-10, -1, 0, 1, 10, 100)
    first.set_yticks(ticks, [f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in ticks])
    grid[0][-1].legend(fontsize=8)
    return figure


def deep_networks(_rows: Sequence[Row]) -> Figure:
    """What each seed reached: a panel for each network, a line for each rule, a mark for each optimiser."""
    found: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in runs("deep-mlp")[1]:
        if (trial := result.trial).test != "never":
            found.setdefault((trial.model, trial.forward), {}).setdefault(trial.backward, []).append(result)
    optimisers = [
        o for o in OPTIMISERS if any(r.trial.optimiser == o for own in found.values() for r in chain(*own.values()))
    ]
    looks = {
        o: {"color": COLOURS[i], "marker": MARKS[i], "linestyle": "", "markersize": 5} for i, o in enumerate(optimisers)
    }
    heights = [len(rules) for rules in found.values()]
    figure = Figure(figsize=(7.6, 1.2 + 0.5 * len(found) + 0.26 * sum(heights)), layout="constrained")
    grid = figure.subplots(len(found), squeeze=False, sharex=True, height_ratios=heights)
    for (axes,), ((model, forward), rules) in zip(grid, found.items(), strict=True):
        for place, results in enumerate(rules.values()):
            for result in results:
                look = looks[result.trial.optimiser]
                line = -place + 0.2 * (1 - optimisers.index(result.trial.optimiser))
                last = result.epochs[-1].test_accuracy if result.status == "done" else None
                if last is None:
                    axes.plot([0], [line], **{**look, "marker": "x"}, clip_on=False)
                else:
                    axes.plot([100 * last], [line], **look, alpha=0.8)
        axes.set_yticks([-place for place in range(len(rules))], list(rules), fontsize=7)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-len(rules) + 0.4, 0.6)
        axes.set_xlim(0, 100)
        axes.axvline(10, color=QUIET, linewidth=0.8, linestyle=":")
        axes.set_title(f"{NAMES.get(forward, forward)}, {model}", loc="left", fontsize=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
    grid[-1, 0].set_xlabel("% of test images, each seed; dotted: one class in ten")
    handles = [grid[0, 0].plot([], [], label=NAMES[o], **looks[o])[0] for o in optimisers]
    handles += grid[0, 0].plot([], [], color=QUIET, marker="x", linestyle="", label="diverged")
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=7)
    return figure


FIGURES: dict[str, tuple[str, Callable[[Sequence[Row]], Figure]]] = {
    "magnitude": ("magnitude.md", forest),
    "step-functions": ("step-functions.md", forest),
    "jamming": ("jamming.md", by_rule),
    "explosion": ("explosion.md", explosion),
    "lost-mask": ("lost-mask.md", lost_mask),
    "saturation": ("saturation.md", saturation),
    "dead-units": ("dead-units.md", dead_units),
    "signs": ("signs.md", signs),
    "direction": ("direction.md", direction),
    "feedback-weights": ("feedback-weights.md", forest),
    "direction-first": ("direction-first.md", forest),
    "architectures": ("architectures.md", by_network),
    "deep-networks": ("deep-networks.md", deep_networks),
    "which-forwards": ("which-forwards.md", which_forwards),
}
"""By name: the page whose comparisons it shows, and how it is drawn."""
