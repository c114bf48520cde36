"""Report in a terminal: the same records, as rich tables."""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; check() has raised before any use of it.

from __future__ import annotations

from collections.abc import Sequence

from tieless._imports import try_import
from tieless.report import claim_words, words
from tieless.report.collect import BASELINES
from tieless.report.printable import Printable
from tieless.report.records import Estimate, Grid, Report, TableCell
from tieless.study.anytable import Runs, TableVerdict, groups
from tieless.study.choose import summary
from tieless.study.judging.verdicts import ClaimVerdict

with try_import("study") as study_extra:
    from rich import box
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

_VERDICT_STYLES = {"holds": "green", "does not hold": "red", "undecided": "yellow", "identical": "cyan"}

RULE_WIDTH = 26
"""Number of columns that a rule may take before it is folded: most fit."""


def table(report: Report) -> RenderableType:
    """Renderable of a report for ``rich.print``: a table per section, at the best learning rate if it has several.

    Raises:
        MissingExtraError: rich is not installed.
    Example:
        >>> rich.print(table(collect(folder)))  # doctest: +SKIP
    """
    study_extra.check()
    parts: list[RenderableType] = []
    parts += [Text(f"{report.header.title}: {words.state(report)}.", style="bold")]
    parts += [Text(words.reading(report.metrics))]
    parts += [Text(f"\n{summary(report.choices)}")] if report.choices else []
    for section in report.sections:
        settings = " · ".join(words.settings_words(section.settings).values())
        if section.chosen:
            how = "each cell at the learning rate that was chosen for it on validation samples, by other seeds"
            grid = section.blocks[0].grid
            parts += [Text(f"\n{settings}"), Text(f"{how}; the page has all."), _FittedGrid(grid, rates=True)]
        elif section.best:
            rates = ", ".join(map(words.rate, section.learning_rates))
            how = f"each cell at the best of the learning rates {rates}, chosen on the test set and so optimistic"
            parts += [Text(f"\n{settings}"), Text(f"{how}; the page has all."), _FittedGrid(section.best, rates=True)]
        else:
            rate = words.rate(section.learning_rates[0])
            parts += [Text(f"\n{settings} · learning rate {rate}"), _FittedGrid(section.blocks[0].grid, rates=False)]
    parts += [
        Text(
            f"failed: {failure.trial.forward} under {failure.trial.backward_pass}, seed {failure.trial.seed}: {failure.error}"
        )
        for failure in report.failures
    ]
    # Last, where the cursor is: the answer stays on the screen.
    parts += [Text(""), claims(report.claims)] if report.claims else []
    return Printable(Group(*parts))


def claims(verdicts: Sequence[ClaimVerdict]) -> RenderableType:
    """Renderable of judged claims for ``rich.print``: each with its verdict, and each comparison below it.

    Raises:
        MissingExtraError: rich is not installed.
    """
    study_extra.check()
    lines: list[Text] = []
    for verdict in verdicts:
        label = f"{verdict.claim.label}: " if verdict.claim.label else ""
        lines.append(
            Text.assemble(f"{label}{verdict.claim}: ", (verdict.text, f"bold {_VERDICT_STYLES[verdict.verdict]}"))
        )
        for cell in verdict.cells:
            told = f"{cell.settings}: {cell.verdict}: " if len(verdict.cells) > 1 else ""
            lines.append(Text(f"  {told}{claim_words.cell_line(cell, verdict)}", style="dim"))
    return Printable(Group(*lines, Text(claim_words.method(verdicts), style="italic")))


def table_claim(verdict: TableVerdict) -> RenderableType:
    """Renderable of a judged claim about a table of any origin, for ``rich.print``.

    Raises:
        MissingExtraError: rich is not installed.
    """
    study_extra.check()
    lines = [Text.assemble(f"{verdict.says}: ", (verdict.verdict, f"bold {_VERDICT_STYLES[verdict.verdict]}"))]
    for cell in verdict.cells:
        name = f"{', '.join(cell.cell)}: {cell.verdict}: " if cell.cell else ""
        lines.append(Text(f"  {name}{claim_words.table_line(cell)}", style="dim"))
    return Printable(Group(*lines, Text(claim_words.table_method(verdict), style="italic"), Text(verdict.lacks)))


def table_summary(runs: Runs) -> RenderableType:
    """Renderable of the means of a table of any origin, for ``rich.print``.

    Raises:
        MissingExtraError: rich is not installed.
    """
    study_extra.check()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (
        *runs.columns.cell,
        runs.columns.rule,
        "runs",
        f"mean {runs.columns.value}",
        "± half of its 95 % interval",
    ):
        shown.add_column(Text(title))
    for group in groups(runs):
        half = "n=1" if group.half is None else f"{group.half:.4g}"
        shown.add_row(*map(Text, (*group.cell, group.rule, str(len(group.values)), f"{group.mean:.6g}", half)))
    return Printable(Group(shown, Text(runs.left_out)) if runs.left_out else shown)


class _FittedGrid:
    """Grid as one table, or as several below each other if the console is too narrow for all forwards."""

    def __init__(self, grid: Grid, *, rates: bool) -> None:
        self._grid, self._rates = grid, rates

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(width=10_000)  # a measurement never exceeds the width it is taken in
        start = 0
        while start < len(self._grid.forwards):
            end = len(self._grid.forwards)
            shown = self._table(start, end)
            while end > start + 1 and Measurement.get(console, unlimited, shown).maximum > options.max_width:
                end -= 1
                shown = self._table(start, end)
            yield shown
            start = end

    def _table(self, start: int, end: int) -> Table:
        grid = self._grid
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        shown.add_column("backward rule", overflow="fold", max_width=RULE_WIDTH)
        for forward in grid.forwards[start:end]:
            shown.add_column(Text(forward), no_wrap=True)
        baselines = [rule for rule in grid.rules if rule in BASELINES]
        for rule, row in zip(grid.rules, grid.rows, strict=True):
            cells = [
                Text(words.absent(rule, forward, grid), style="dim") if cell is None else _cell(cell, rates=self._rates)
                for forward, cell in zip(grid.forwards[start:end], row[start:end], strict=True)
            ]
            shown.add_row(Text(str(rule)), *cells, end_section=rule in baselines[-1:])
        return shown


def _cell(cell: TableCell, *, rates: bool) -> Text:
    lines: list[Text] = []
    if cell.value is not None:
        lines.append(
            Text.assemble(
                (words.value(cell.value.mean, cell.metric), "bold"),
                f" {words.interval(cell.value, cell.metric)}",
                f" @{words.rate(cell.learning_rate, cell.edge)}" if rates else "",
            )
        )
        if cell.to_tied or cell.to_frozen:
            both = (_difference(one, cell.metric) for one in (cell.to_tied, cell.to_frozen))
            lines.append(Text(" / ").join(both))
    lines += [Text(f"{mark.symbol} {mark.text}") for mark in words.marks(cell)]
    return Text("\n").join(lines)


def _difference(estimate: Estimate | None, metric: str) -> Text:
    if estimate is None:
        return Text(words.NOTHING, style="dim")
    return Text(words.difference(estimate, metric=metric), style="bold" if estimate.clear else "dim")
