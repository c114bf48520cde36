"""Figures of a study for a paper: the curves, table, heat map and forest of its report, as vectors, pixels or LaTeX."""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; check() has raised before any use of it.

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tieless._files import is_file, write_whole
from tieless._imports import try_import
from tieless.errors import StudyError
from tieless.report import words
from tieless.report.chart import margins
from tieless.report.collect import BASELINES, check_apart, collect
from tieless.report.plots import COLOURS, INK, MARKS, QUIET, figure_of, style_axes
from tieless.report.printable import printable
from tieless.report.records import Curve, Grid, Report, Section, TableCell
from tieless.report.rule_plot import STYLE
from tieless.study.settings.metrics import scale_of
from tieless.study.study import Study
from tieless.study.trial import BackwardPass

Kind = Literal["curves", "table", "heatmap", "forest"]
FigureFormat = Literal["svg", "pdf", "png", "tex"]

# A name with a dollar is no formula; fonts are embedded as journals want them.
_STYLE: dict[Any, Any] = {**STYLE, "text.parse_math": False, "pdf.fonttype": 42, "savefig.dpi": 200}
_INCHES_A_LETTER = 0.075
_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\N{EN DASH}": "--",
}


def write_figure(
    source: Path, kind: Kind, form: FigureFormat, target: Path | None = None, study: Study | None = None
) -> Path:
    """Write a figure of a study, whole or not at all. Equal results give equal files.

    Args:
        source: Folder of a study, or a table that was exported from one.
        kind: Kind of the figure: ``"curves"`` of learning, the ``"table"`` and a ``"heatmap"`` of rules by forwards, each
            cell at its best or chosen learning rate, or a ``"forest"`` of the claims.
        form: Format. ``"tex"`` is for a table, a ``tabular`` for the package booktabs.
        target: Path of the file; ``None`` for one beside the results, of the name of its kind.
        study: Study whose claims to take, for a table.
    Raises:
        StudyError: there is no study, it has nothing to draw, ``"tex"`` was asked of another kind, or the file cannot be
            written.
        MissingExtraError: Matplotlib is not installed.
    """
    if form == "tex" and kind != "table":
        raise StudyError(f"A {kind} has no tex: choose svg, pdf or png, or --kind table.")
    report = collect(Path(source), study)
    content = latex(report).encode() if form == "tex" else _drawn(report, kind, form)
    folder = Path(source).parent if is_file(Path(source)) else Path(source)
    target = target or folder / f"{kind}.{form}"
    check_apart(target, Path(source))
    try:
        write_whole(target, content)
    except OSError as error:
        raise StudyError(f"Cannot write {target}: {error.strerror}. Choose another with --out.") from error
    return target


def _drawn(report: Report, kind: Kind, form: str) -> bytes:
    with try_import("report") as report_extra:
        from matplotlib import rc_context  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]
    report_extra.check()
    draw = {"curves": plot_curves, "table": plot_table, "heatmap": plot_heatmap, "forest": plot_forest}[kind]
    stream = io.BytesIO()
    dates = {"svg": "Date", "pdf": "CreationDate"}
    with rc_context(_STYLE), warnings.catch_warnings():
        # A sign of a name that the font lacks is a box, which shows by itself.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        metadata = {dates[form]: None} if form in dates else None
        draw(report).savefig(stream, format=form, bbox_inches="tight", metadata=metadata)
    return stream.getvalue()


def plot_curves(report: Report) -> Any:
    """Plot the learning curves: a panel for each forward, a row for each section, each rule at its best or chosen rate.

    Args:
        report: Records, as ``collect`` returns them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``: mean over the seeds that finished, band from the lowest to the highest.
    Raises:
        StudyError: no trial was tested after several epochs.
        MissingExtraError: Matplotlib is not installed.
    """
    rows = [(section, drawn) for section in report.sections if (drawn := _curves(section))]
    if not rows:
        raise StudyError("No curves to draw: no trial was tested after each of several epochs.")
    columns = max(len(drawn) for _, drawn in rows)
    figure = figure_of(2.6 * columns + 0.6, 2.3 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    shown: dict[str, Any] = {}
    for line, (section, drawn) in zip(grid, rows, strict=True):
        units = scale_of(section.settings.metric).in_units
        for axes, (forward, curves) in zip(line, drawn.items(), strict=False):
            style_axes(axes, _clean(forward), "epoch", "")
            for curve in curves:
                at = [point.epoch for point in curve.points]
                look = _look(report, curve.backward)
                (shown[str(curve.backward)],) = axes.plot(
                    at,
                    [units(point.mean) for point in curve.points],
                    **look,
                    label=_clean(str(curve.backward)),
                    markevery=[len(at) - 1] if at else None,
                )
                low, high = ([units(getattr(point, end)) for point in curve.points] for end in ("low", "high"))
                axes.fill_between(at, low, high, color=look["color"], alpha=0.13, linewidth=0)
        for axes in line[len(drawn) :]:
            axes.set_visible(False)
        line[0].set_ylabel(_clean(f"test {words.measure(section.settings.metric)}"), fontsize=8)
        if len(rows) > 1:
            told = _clean(words.titles(report)[section.settings])
            line[0].set_title(f"{told}\n{line[0].get_title(loc='left')}", loc="left", fontsize=9)
    most = int(figure.get_figwidth() / (0.6 + _INCHES_A_LETTER * max(map(len, shown))))
    figure.legend(
        handles=list(shown.values()), loc="outside lower center", ncols=min(3, max(1, most)), fontsize=8, frameon=False
    )
    return figure


def _curves(section: Section) -> dict[str, list[Curve]]:
    """Curves by forward, each at the rate of its cell in the section's table."""
    drawn = {
        (panel.forward, curve.backward, block.settings.learning_rate): curve
        for block in section.blocks
        for panel in block.panels
        for curve in panel.curves
        if len(curve.points) > 1
    }
    found: dict[str, list[Curve]] = {}
    for cell in section.table.cells:
        rate = None if section.chosen else cell.learning_rate
        if (curve := drawn.get((cell.forward, cell.backward, rate))) is not None:
            found.setdefault(cell.forward, []).append(curve)
    return found


def _look(report: Report, backward: BackwardPass) -> dict[str, Any]:
    """Look of a rule's curve: baselines in black and grey, as on the page."""
    if backward in BASELINES:
        tied = backward == BASELINES[0]
        return {"color": INK if tied else QUIET, "linestyle": "-" if tied else ":", "marker": "o", "linewidth": 1.8}
    place = [rule for rule in report.rules if rule not in BASELINES].index(backward)
    colours = len(COLOURS)
    return {
        "color": COLOURS[place % colours],
        "linestyle": ("-", "--", "-.")[place // colours % 3],
        "marker": MARKS[place % len(MARKS)],
        "linewidth": 1.4,
    }


def plot_table(report: Report) -> Any:
    """Plot the table of each section as text: rules down, forwards across.

    Args:
        report: Records, as ``collect`` returns them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figure, places = _panels(report, column=1.5, row=0.24, head=3)
    for axes, grid in places:
        axes.set_axis_off()
        drawn = axes.table(
            cellText=[[_clean(text) for text in row] for row in _texts(grid)],
            rowLabels=[_clean(str(rule)) for rule in grid.rules],
            colLabels=[_clean(forward) for forward in grid.forwards],
            cellLoc="right",
            colLoc="right",
            edges="horizontal",
            loc="center",
        )
        drawn.auto_set_font_size(value=False)
        drawn.set_fontsize(8)
        for cell in drawn.get_celld().values():
            cell.set_edgecolor("#c8ccd2")
    return figure


def plot_heatmap(report: Report) -> Any:
    """Plot the means of each section as a heat map: rules down, forwards across, deeper is better.

    Args:
        report: Records, as ``collect`` returns them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figure, places = _panels(report, column=0.9, row=0.3, head=3)
    for axes, grid in places:
        scale = scale_of(grid.metric)
        means = [
            [float("nan") if cell is None or cell.value is None else scale.in_units(cell.value.mean) for cell in row]
            for row in grid.rows
        ]
        known = [mean for row in means for mean in row if mean == mean]  # noqa: PLR0124 - NaN is not itself
        low, high = min(known), max(known)
        axes.imshow(
            means,
            cmap="Blues" if scale.higher else "Blues_r",
            vmin=low,
            vmax=high if high > low else low + 1,
            aspect="auto",
        )
        for row, line in enumerate(grid.rows):
            for column, cell in enumerate(line):
                if cell is not None and cell.value is not None:
                    share = (means[row][column] - low) / ((high - low) or 1)
                    dark = share > 0.6 if scale.higher else share < 0.4
                    text = words.value(cell.value.mean, cell.metric)
                    axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)
        axes.set_xticks(range(len(grid.forwards)), [_clean(forward) for forward in grid.forwards], fontsize=8)
        axes.set_yticks(range(len(grid.rules)), [_clean(str(rule)) for rule in grid.rules], fontsize=8)
        axes.spines[:].set_visible(False)
    return figure


def plot_forest(report: Report) -> Any:
    """Plot each comparison of the claims: its median difference with the interval by which it is judged, the margin, and the verdict.

    Args:
        report: Records, as ``collect`` returns them.
    Returns:
        Figure, a ``matplotlib.figure.Figure``.
    Raises:
        StudyError: the study has no claim with an interval.
        MissingExtraError: Matplotlib is not installed.
    """
    lines = [
        (verdict.claim, cell)
        for verdict in report.claims
        for cell in verdict.cells
        if cell.differences is not None and math.isfinite(cell.differences.high - cell.differences.low)
    ]
    if not lines:
        raise StudyError("No forest to draw: no claim of the study has enough runs for an interval.")
    figure = figure_of(7, 0.34 * len(lines) + 1)
    axes = figure.subplots()
    units = list(dict.fromkeys(words.unit_of_differences(cell.metric) for _, cell in lines))
    style_axes(axes, "", f"median difference in {' and '.join(units)}, with the interval by which it is judged", "")
    colours = {"holds": COLOURS[2], "does not hold": COLOURS[1], "undecided": QUIET, "identical": COLOURS[0]}
    for row, (claim, cell) in enumerate(lines):
        assert cell.differences is not None
        scale = scale_of(cell.metric)
        low, high = map(scale.in_units, cell.differences.interval)
        median = scale.in_units(cell.differences.median)
        axes.plot([low, high], [row, row], color=colours[cell.verdict], linewidth=1.6)
        axes.plot([median], [row], color=colours[cell.verdict], marker="o", markersize=5)
        for edge in map(scale.in_units, margins(claim, cell.metric)):
            axes.plot([edge, edge], [row - 0.35, row + 0.35], color=INK, linewidth=0.8, linestyle=":")
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_yticks(
        range(len(lines)),
        [_clean(f"{claim} ({cell.settings})" if cell.settings else str(claim)) for claim, cell in lines],
        fontsize=7,
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    for verdict, colour in colours.items():
        axes.plot([], [], color=colour, marker="o", label=verdict)
    axes.plot([], [], color=INK, linewidth=0.8, linestyle=":", label="margin")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def latex(report: Report) -> str:
    """Tables of a report as LaTeX: a ``tabular`` for each section, for the package booktabs.

    Args:
        report: Records, as ``collect`` returns them.
    """
    return "\n".join(_tabular(report, section) for section in _with_results(report))


def _tabular(report: Report, section: Section) -> str:
    grid = section.table
    head = " & ".join(["backward rule", *map(_escaped, grid.forwards)])
    rows = [
        " & ".join([f"\\texttt{{{_escaped(str(rule))}}}", *map(_escaped, texts)]) + r" \\"
        for rule, texts in zip(grid.rules, _texts(grid), strict=True)
    ]
    # A comment ends with its line, so nothing of others may begin another.
    said = " ".join(f"{_title(report, section)}{words.means([grid.metric])}".split())
    return "\n".join(
        [
            f"% {printable(said)}",
            f"\\begin{{tabular}}{{l{'r' * len(grid.forwards)}}}",
            r"\toprule",
            f"{head} \\\\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _texts(grid: Grid) -> Iterator[list[str]]:
    for rule, row in zip(grid.rules, grid.rows, strict=True):
        yield [
            words.NOTHING if cell is None else _text(cell) if cell.runs else words.absent(rule, forward, grid)
            for forward, cell in zip(grid.forwards, row, strict=True)
        ]


def _text(cell: TableCell) -> str:
    if cell.value is None:
        return words.NOTHING
    rest = words.interval(cell.value, cell.metric)
    return f"{words.value(cell.value.mean, cell.metric)} {rest if cell.value.n != 2 else f'({rest})'}"


def _escaped(text: str) -> str:
    return re.sub(r".", lambda found: _SPECIAL.get(found[0], found[0]), _clean(text))


def _clean(text: str) -> str:
    return " ".join(printable(text).split())


def _panels(report: Report, *, column: float, row: float, head: int) -> tuple[Any, list[tuple[Any, Grid]]]:
    """Figure with titled axes for the table of each section, and the tables.

    Args:
        report: Records.
        column, row: Width of a column and height of a row, in inches.
        head: Number of rows that a title takes.
    """
    sections = _with_results(report)
    heights = [len(section.table.rules) + head for section in sections]
    widest = max(len(section.table.forwards) for section in sections)
    figure = figure_of(_names_width(sections) + column * widest, row * sum(heights))
    places = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, section in zip(places, sections, strict=True):
        title = f"{_title(report, section)}test {words.measure(section.table.metric)}"
        axes.set_title(_clean(title), loc="left", fontsize=9)
    return figure, [(axes, section.table) for axes, section in zip(places, sections, strict=True)]


def _names_width(sections: Sequence[Section]) -> float:
    """Width in inches that the names of the rules take."""
    return 0.8 + _INCHES_A_LETTER * max(len(str(rule)) for section in sections for rule in section.table.rules)


def _with_results(report: Report) -> Sequence[Section]:
    found = [section for section in report.sections if any(cell.value is not None for cell in section.table.cells)]
    if not found:
        raise StudyError("Nothing to draw: no trial has a result yet.")
    return found


def _title(report: Report, section: Section) -> str:
    return f"{words.titles(report)[section.settings]}: " if len(report.sections) > 1 else ""
