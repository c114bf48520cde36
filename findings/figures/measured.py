"""Figures of measurements, and of the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from findings.blocks.markdown import NAMES
from findings.figures.axes import OPTIMISERS, QUIET, WIDTH, bare, key_below, names_down, points_ticks, short, stacked
from findings.losses import cells
from findings.measure.mechanisms import LENET5
from findings.measure.robustness import RULES
from findings.tables import Row, measurements, runs
from tieless.report.plots import COLOURS, MARKS
from tieless.study import Result

EARLY = 50
"""Steps up to which every run has measurements."""


def _over_steps(axes: Any, lines: dict[str, dict[float, list[float]]], title: str, y: str) -> None:
    for number, (label, points) in enumerate(lines.items()):
        steps = sorted(points)
        means = [fmean(points[step]) for step in steps]
        axes.plot(
            steps, means, color=COLOURS[number % len(COLOURS)], marker=MARKS[number % len(MARKS)], markersize=3.5,
            linewidth=1.3, label=short(label),
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("updates")
    axes.set_ylabel(y)
    bare(axes)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False)


def _norms(axes: Any, rules: Sequence[str], title: str) -> None:
    """Draw the norm of the gradient of all weights, a line for each seed; a cross where a run ended early."""
    rows = [row for row in measurements("mechanism-layers") if row["study"] == "mechanism/explosion"]
    rows = [row for row in rows if (row["model"], row["learning_rate"], row["layer"]) == ("lenet5", 0.1, "")]
    longest = max(row["step"] for row in rows)
    for number, rule in enumerate(rules):
        for seed in sorted({row["seed"] for row in rows if row["backward"] == rule}):
            own = [row for row in rows if (row["backward"], row["seed"]) == (rule, seed)]
            axes.plot(
                [row["step"] for row in own], [row["norm"] for row in own], color=COLOURS[number], linewidth=1,
                alpha=0.8, label=short(rule) if seed == 0 else None,
            )  # fmt: skip
            if own[-1]["step"] < longest:
                axes.plot(own[-1]["step"], own[-1]["norm"], marker="X", color=COLOURS[number], markersize=7)
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("updates; a cross: diverged before the next measurement")
    bare(axes)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def explosion(_rows: Sequence[Row]) -> Figure:
    """Norm of the gradient during training: with multipliers of the derivative's size, and of the constant's."""
    figure, (left, right) = stacked(2, 2.7, sharey=True)
    small = ("tied", "positive_jam >> scale(1.7321)", "constant(0.7071)", "full_jam >> scale(1.2247)")
    _norms(left, small, "Multipliers as large as the derivative")
    _norms(right, ("tied >> scale(1.4142)", "constant(1)"), "Multipliers as large as 1")
    left.set_ylabel("norm of the gradient")
    return figure


def _cosines(axes: Any, study: str, optimiser: str, rules: Sequence[str], until: int, legend: Any = "best") -> None:
    """Draw the cosine by layer, a line for each rule: means over seeds and over steps up to one."""
    rows = [row for row in measurements("mechanism-layers") if (row["study"], row["optimiser"]) == (study, optimiser)]
    for number, rule in enumerate(rules):
        own = [row for row in rows if row["backward"] == rule and row["step"] <= until and row["layer"] != ""]
        cosines = [[row["cosine"] for row in own if row["layer"] == float(layer)] for layer in LENET5]
        means = [fmean(values) for values in cosines]
        axes.plot(list(LENET5.values()), means, color=COLOURS[number], marker=MARKS[number], label=short(rule))
    axes.set_title(f"Cosine with the true gradient, {NAMES[optimiser]}", loc="left", fontsize=9)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.axhline(1, color=QUIET, linewidth=0.8)
    axes.set_xlabel(f"mean of updates 0 to {until}")
    axes.legend(fontsize=8, frameon=False, loc=legend)
    bare(axes)


def _seeds(axes: Any, name: str, forward: str, optimiser: str, rules: Sequence[str]) -> None:
    """Draw the test accuracy of each seed, a line for each rule."""
    _, results = runs(name)
    for place, rule in enumerate(rules):
        for result in results:
            trial = result.trial
            asked = (trial.optimiser, trial.forward, trial.backward) == (optimiser, forward, rule)
            if asked and result.status == "done":
                accuracy = 100 * (result.epochs[-1].test_accuracy or 0.0)
                axes.plot([accuracy], [-place], "o", color=COLOURS[0], markersize=4, alpha=0.6)
    axes.set_yticks([-place for place in range(len(rules))], list(map(short, rules)))
    axes.set_title(f"Test accuracy of each seed, %, {NAMES[optimiser]}", loc="left", fontsize=9)
    bare(axes)


def lost_mask(_rows: Sequence[Row]) -> Figure:
    """Cosine by layer under SGD, beside the accuracy of longer runs under Adam."""
    figure, (left, right) = stacked(2, 2.7)
    rules = ("positive_jam", "constant(1)", "full_jam")
    _cosines(left, "mechanism/explosion", "sgd", rules, EARLY)
    _seeds(right, "lenet5-jamming", "relu", "adam", ("tied", *rules))
    return figure


def signs(_rows: Sequence[Row]) -> Figure:
    """Cosine by layer, beside the accuracy of each seed: signs alone, and signs with sizes put back."""
    figure, (left, right) = stacked(2, 2.7)
    rules = (
        "full_jam",
        'sign(norm="sample") >> full_jam',
        'sign(norm="tensor") >> full_jam',
        'full_jam(replace="magnitude")',
    )
    _cosines(left, "mechanism/signs", "adam", rules, 900, legend=(0.01, 0.24))
    _seeds(right, "mechanism-signs", "linear", "adam", ("tied", *rules))
    return figure


def _units(study: str, field: str, factor: float = 1.0, only: int | None = None) -> dict[str, dict[float, list[float]]]:
    """Measurements of units by rule and step: of one activation, or of all."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in measurements("mechanism-health"):
        if row["study"] == study and only in {None, row["activation"]}:
            label = row["backward"] + (", batch norm" if "norm" in row["model"] else "")
            found.setdefault(label, {}).setdefault(row["step"], []).append(factor * row[field])
    return found


def saturation(_rows: Sequence[Row]) -> Figure:
    """Spread of z, and the share of it where the derivative is almost 0."""
    figure, (left, right) = stacked(2, 2.7)
    _over_steps(left, _units("mechanism/saturation", "spread", 1, only=2), "Standard deviation of z, conv2", "z")
    _over_steps(right, _units("mechanism/saturation", "saturated", 100, only=2), "Saturated, conv2", "% of z")
    right.get_legend().remove()
    return figure


def dead_units(_rows: Sequence[Row]) -> Figure:
    """Share of units that are the same for every image."""
    figure, (left, right) = stacked(2, 2.7)
    _over_steps(
        left,
        _units("mechanism/dead-units", "constant", 100),
        "Units with one output for all images, mean of four layers",
        "%",
    )
    _over_steps(right, _units("mechanism/dead-units", "mean"), "Mean of z, mean of four layers", "z")
    right.get_legend().remove()
    return figure


def which_forwards(_rows: Sequence[Row]) -> Figure:
    """Cost of each rule on each forward, over the cosine of its gradient with the tied one after 100 own steps."""
    found = cells()
    models = list(dict.fromkeys(cell.group[0] for cell in found))
    figure = Figure(figsize=(WIDTH, 2.6 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, sharex=True, sharey=True, squeeze=False)
    for row, model in zip(grid, models, strict=True):
        for axes, optimiser in zip(row, ("sgd", "adam"), strict=True):
            for number, rule in enumerate(RULES):
                own = [cell for cell in found if cell.group == (model, optimiser, rule)]
                at = [cell.properties["alignment @ 100 untied"] for cell in own]
                lost = [cell.lost for cell in own]
                axes.plot(at, lost, label=short(rule), color=COLOURS[number], marker=MARKS[number], linestyle="")
            axes.axhline(0, color=QUIET, linewidth=0.8)
            axes.set_title(short(f"{model}, {optimiser}"), loc="left", fontsize=9)
        row[0].set_ylabel("points lost")
    for axes in grid[-1]:
        axes.set_xlabel("cosine after 100 updates")
    first = grid[0][0]
    first.set_yscale("symlog", linthresh=1)
    first.set_ylim(-20, 100)
    ticks = (-10, -1, 0, 1, 10, 100)
    first.set_yticks(ticks, points_ticks(ticks))
    grid[0][-1].legend(fontsize=8)
    return figure


def deep_networks(_rows: Sequence[Row]) -> Figure:
    """Accuracy of each seed: a panel for each network, a line for each rule, a mark for each optimiser."""
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
    figure = Figure(figsize=(WIDTH, 1.2 + 0.5 * len(found) + 0.26 * sum(heights)), layout="constrained")
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
        names_down(axes, list(rules))
        axes.set_xlim(0, 100)
        axes.axvline(10, color=QUIET, linewidth=0.8, linestyle=":")
        axes.set_title(short(f"{forward}, {model}"), loc="right", fontsize=9)
        bare(axes, "left")
    grid[-1, 0].set_xlabel("% of test images, each seed; dotted: one class in ten", loc="right")
    handles = [grid[0, 0].plot([], [], label=NAMES[o], **looks[o])[0] for o in optimisers]
    handles += grid[0, 0].plot([], [], color=QUIET, marker="x", linestyle="", label="diverged")
    key_below(figure, handles)
    return figure
