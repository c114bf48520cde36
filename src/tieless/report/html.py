"""Report as one HTML page: records in, text out. Only positions on the page are computed here."""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; check() has raised before any use of it.

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tieless._files import is_file, write_whole
from tieless._imports import try_import
from tieless.errors import StudyError
from tieless.report import chart, claim_words, dose_chart, words
from tieless.report.collect import BASELINES, check_apart, collect
from tieless.report.figure_data import FigureData
from tieless.report.printable import printable
from tieless.report.records import Report, TableCell
from tieless.study.anytable import Group, Runs, groups
from tieless.study.choose import summary
from tieless.study.settings.metrics import ACCURACY
from tieless.study.study import Study
from tieless.study.trial import BackwardPass

FILE = "report.html"
"""Name of the page in a study's folder."""

HEAT_STEPS = (1, 3, 10, 30)
"""Differences to the tied baseline, in percentage points, at which a cell's tint gets deeper."""
STYLES = 18
"""Number of styles of curves: six colours and marker shapes, each solid, dashed and dotted; ``style.css`` has them."""


def write(source: Path, study: Study | None = None, target: Path | None = None) -> Path:
    """Write the report of a study, whole or not at all.

    Args:
        source: Folder of a study, as it was given to ``tieless study run --out``, or a table that was exported from
            one.
        study: Study whose title, question and claims to take, for a table.
        target: Path of the page, if it is to be another one.
    Returns:
        Path of the page: ``report.html`` in the folder; beside a table, of the table's name.
    Raises:
        StudyError: there is no study in the folder, the file is no table, or the page cannot be written.
        MissingExtraError: Jinja2 or SciPy is not installed.
    """
    source = Path(source)
    return _put(render(collect(source, study)), source, target)


def write_table(runs: Runs, source: Path, target: Path | None = None) -> Path:
    """Write a page with the means of a table of any origin, whole or not at all.

    Args:
        runs: Rows of the table.
        source: File of the table.
        target: Path of the page, if it is to be another one than beside the table, of the table's name.
    Returns:
        Path of the page.
    Raises:
        StudyError: the page cannot be written.
        MissingExtraError: Jinja2 is not installed.
    """
    found = groups(runs)
    ends = [end for group in found for end in (*_interval(group), *group.values)]
    shared = {"strip": partial(_strip, min(ends), max(ends)), "interval": _interval, "width": chart.STRIP_WIDTH}
    page = environment().get_template("table.html.j2", globals=shared).render(name=source.name, runs=runs, groups=found)
    return _put(page, source, target)


def _put(page: str, source: Path, target: Path | None) -> Path:
    target = target or (source.with_suffix(".html") if is_file(source) else source / FILE)
    check_apart(target, source)
    try:
        write_whole(target, page.encode())
    except OSError as error:
        raise StudyError(f"Cannot write {target}: {error.strerror}. Is the folder writable?") from error
    return target


def _interval(group: Group) -> tuple[float, ...]:
    return () if group.half is None else (group.mean - group.half, group.mean + group.half)


def _strip(low: float, high: float, value: float) -> float:
    """Position of a value on a line of ``chart.STRIP_WIDTH`` from the lowest to the highest of all."""
    return round(8 + (value - low) / ((high - low) or 1.0) * (chart.STRIP_WIDTH - 16), 1)


def environment() -> Any:
    """Environment of Jinja2 with our templates, which escapes every expression.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    with try_import("report") as report_extra:
        import jinja2  # noqa: PLC0415
    report_extra.check()
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tieless.report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        # Of every expression, before it is escaped.
        finalize=_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(report: Report) -> str:
    """Render the page as text. Equal reports give equal pages."""
    templates = environment()
    titles, styles = words.titles(report), _styles(report.rules)
    shared = {
        "baselines": BASELINES,
        "chart": chart,
        "claim_words": claim_words,
        "dose_chart": dose_chart,
        "figures": FigureData(report, titles),
        "heat": _heat,
        "heat_key": _heat_key(),
        "printable": printable,
        "summary_of": summary,
        "style": styles,
        "words": words,
    }
    return templates.get_template("page.html.j2", globals=shared).render(report=report, titles=titles)


def _text(value: object) -> object:
    """Value of an expression in a template, made printable. Only our own templates may contain markup."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _styles(rules: Sequence[BackwardPass]) -> dict[BackwardPass, str]:
    """CSS class of each rule's curve, the same on the whole page."""
    others = [rule for rule in rules if rule not in BASELINES]
    return {baseline: baseline.rule for baseline in BASELINES} | {
        rule: f"s{i % STYLES}" for i, rule in enumerate(others)
    }


def _heat(cell: TableCell) -> str:
    """CSS class of a cell's tint: ``h0``, or up to four steps above (``p4``) and below (``m4``) its tied baseline.

    The steps are points of accuracy; other metrics have no tint.
    """
    if cell.to_tied is None or cell.metric != ACCURACY:
        return ""
    # The tint follows the printed number: a cell that says -1.0 is tinted as one.
    points = round(100 * cell.to_tied.mean, 1)
    step = sum(abs(points) >= edge for edge in HEAT_STEPS)
    return "h0" if step == 0 else f"{'p' if points > 0 else 'm'}{step}"


def _heat_key() -> list[tuple[str, str]]:
    """CSS class and label of each tint, from far below the baseline to far above it."""
    below = [(f"m{step}", f"≤ {words.MINUS}{edge}") for step, edge in enumerate(HEAT_STEPS, start=1)]
    above = [(f"p{step}", f"≥ +{edge}") for step, edge in enumerate(HEAT_STEPS, start=1)]
    return [*reversed(below), ("h0", "0"), *above]
