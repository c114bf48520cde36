"""Plots of alignments and slopes: records in, Matplotlib figures out."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

from tieless._imports import try_import
from tieless.diagnose import AlignmentRow, SlopeProfile

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours of Okabe and Ito, which the colour-blind tell apart."""

MARKS = "os^Dv<"
INK, QUIET = "#222222", "#999999"
COLUMNS = 3
MOST_LINES = 12
"""Largest number of layers in one picture over time; of more, as many are drawn at equal distances."""


def figure_of(width: float, height: float) -> Any:
    """Empty figure of Matplotlib, in inches.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    # Imported here and not above: it takes longer to import than a command that draws nothing takes in all.
    with try_import("report") as extra:
        figures: Any = importlib.import_module("matplotlib.figure")
    extra.check()
    return figures.Figure(figsize=(width, height), layout="constrained")  # pyright: ignore[reportPossiblyUnboundVariable]


def style_axes(axes: Any, title: str, x: str, y: str) -> None:
    """Give axes our look, a title and labels."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(which="both", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _layers(rows: Sequence[AlignmentRow], kind: str) -> list[str]:
    return list(dict.fromkeys(row.layer for row in rows if row.kind == kind and row.layer))


def _by_layer(rows: Sequence[AlignmentRow], kind: str, step: int) -> dict[str, AlignmentRow]:
    return {row.layer: row for row in rows if (row.kind, row.step) == (kind, step)}


def plot_alignment(rows: Sequence[AlignmentRow]) -> Any:
    """Plot the cosine by depth, of weights and of feedback, at the first measurement, some between, and the last.

    Args:
        rows: Rows of one measurement or several, such as ``measurement.rows()`` or ``result.alignments`` of a trial.
    Returns:
        Figure, a ``matplotlib.figure.Figure``; ``figure.savefig("alignment.png")`` writes it.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figure = figure_of(9, 3.4)
    steps = sorted({row.step for row in rows})
    shown = [steps[round(place * (len(steps) - 1) / 3)] for place in range(4)] if len(steps) > 4 else steps
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("weights", "feedback"), strict=True):
        layers = _layers(rows, kind)
        for number, step in enumerate(dict.fromkeys(shown)):
            found = _by_layer(rows, kind, step)
            axes.plot(
                range(len(layers)),
                [found[layer].cosine if layer in found else math.nan for layer in layers],
                color=COLOURS[number],
                marker=MARKS[number],
                markersize=5,
                linewidth=1.5,
                label=f"step {step}",
            )
        style_axes(axes, f"Cosine with the reference: {kind}", "layer, from the input on", "cosine")
        _name_layers(axes, layers)
        axes.axhline(1, color=QUIET, linewidth=0.8)
        axes.axhline(0, color=QUIET, linewidth=0.8)
    if len(shown) > 1:
        figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def _name_layers(axes: Any, layers: Sequence[str]) -> None:
    many = len(layers) > 8 or sum(map(len, layers)) > 40
    axes.set_xticks(range(len(layers)), layers, rotation=60 if many else 0, ha="right" if many else "center")


def plot_history(rows: Sequence[AlignmentRow]) -> Any:
    """Plot the cosine of each layer's weights over the updates of a training, and that of all of them.

    Args:
        rows: Rows as ``plot_alignment`` takes them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figure = figure_of(7, 3.6)
    axes = figure.subplots()
    layers = _layers(rows, "weights")
    if len(layers) > MOST_LINES:
        layers = [layers[round(place * (len(layers) - 1) / (MOST_LINES - 1))] for place in range(MOST_LINES)]
    for number, layer in enumerate(layers):
        own = [row for row in rows if (row.kind, row.layer) == ("weights", layer)]
        axes.plot(
            [row.step for row in own],
            [row.cosine for row in own],
            color=COLOURS[number % len(COLOURS)],
            linestyle=("-", "--")[number // len(COLOURS) % 2],
            marker=MARKS[number % len(MARKS)] if len(own) < 40 else None,
            markersize=4,
            linewidth=1.3,
            label=layer,
        )
    whole = [row for row in rows if (row.kind, row.layer) == ("weights", "")]
    axes.plot([row.step for row in whole], [row.cosine for row in whole], color=INK, linewidth=2, label="all weights")
    style_axes(axes, "Cosine with the reference while training", "steps", "cosine")
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="layer", title_fontsize=8)
    return figure


def plot_norms(rows: Sequence[AlignmentRow]) -> Any:
    """Plot the norms of the gradients and of those of the reference, by depth, at the last measurement.

    Args:
        rows: Rows as ``plot_alignment`` takes them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figure = figure_of(9, 3.4)
    last = max((row.step for row in rows), default=0)
    for axes, kind in zip(figure.subplots(1, 2), ("weights", "feedback"), strict=True):
        layers = _layers(rows, kind)
        found = _by_layer(rows, kind, last)
        for number, (field, label) in enumerate((("norm", "untied"), ("reference_norm", "reference"))):
            axes.plot(
                range(len(layers)),
                # A norm of 0 has no place on a logarithmic axis.
                [getattr(found[layer], field) or math.nan for layer in layers],
                color=(COLOURS[0], QUIET)[number],
                marker=MARKS[number],
                markersize=5,
                linewidth=1.5,
                label=label,
            )
        axes.set_yscale("log")
        style_axes(axes, f"Norm of the gradient: {kind}", "layer, from the input on", "norm")
        _name_layers(axes, layers)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def plot_slopes(profiles: Sequence[SlopeProfile]) -> Any:
    """Plot the slope of each activation's rule and the tied slope (the derivative), over the histogram of ``z``.

    Args:
        profiles: Profiles as ``slope_profiles`` returns them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    columns = min(COLUMNS, len(profiles))
    lines = math.ceil(len(profiles) / columns)
    figure = figure_of(3.3 * columns + 0.6, 2.6 * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False)
    places = [axes for line in grid for axes in line]
    for axes, profile in zip(places, profiles, strict=False):
        _slope(axes, profile)
    for axes in places[len(profiles) :]:
        axes.set_visible(False)
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _slope(axes: Any, profile: SlopeProfile) -> None:
    style_axes(axes, f"{profile.name or '(the model)'}: {profile.forward}, {profile.backward}", "z", "slope")
    behind = axes.twinx()
    behind.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    behind.stairs(profile.shares, profile.edges, fill=True, color="#dddddd")
    behind.set_yticks([])
    behind.set_ylim(0, 1.4 * max(profile.shares) or 1)
    behind.spines[:].set_visible(False)
    axes.stairs([], [0], fill=True, color="#dddddd", label="z, share of elements")
    if profile.tied is not None:
        axes.plot(profile.at, profile.tied, color=QUIET, linewidth=1.5, label="tied slope")
    axes.plot(profile.at, profile.slope, color=COLOURS[1], linewidth=1.6, linestyle="--", label="slope of the rule")
