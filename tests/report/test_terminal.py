from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tieless.report import table
from tieless.report.collect import assemble


def printed(report, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table(report))
    return console.file.getvalue()


def test_the_table_has_the_numbers_of_the_records(typical, report_of):
    lines = printed(report_of(typical)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("constant(1)"))
    minus = "\N{MINUS SIGN}"
    assert lines[at].split() == ["constant(1)", "75.0", "±10.8", "10.0", "±0.0", "62.0", "±2.5"]
    assert lines[at + 1].replace(" / ", "/").split() == [
        f"{minus}4.0/+23.0",
        f"{minus}61.0/{minus}21.0",
        "\N{EN DASH}/+12.0",
    ]
    assert lines[at + 2].strip() == "◐ 3/3 single class"


def test_it_says_what_diverged_and_what_cannot_be(typical, report_of):
    text = printed(report_of(typical))
    assert "✕ 3/3 diverged" in text
    assert "✕ 1/3 diverged" in text
    assert "cannot be tied" in text
    assert "Two slopes: all 33 trials have run." in text


def test_several_learning_rates_show_the_best_and_say_so(trial, result, report_of):
    text = printed(report_of([result(trial(learning_rate=rate), 0.1, rate) for rate in (0.1, 0.2, 0.3)]))
    assert "30.0 n=1 @0.3↑" in text
    assert "chosen on the test set and so optimistic" in text
    assert "20.0" not in text


def test_nothing_of_a_study_is_read_as_markup(trial, result, study):
    one = trial()
    failed = result(one, status="failed", error="[bold]no[/bold] [/nonsense]")
    text = printed(assemble(study([one], title="[red]Two[/red] slopes"), [failed]))
    assert "[red]Two[/red] slopes" in text
    assert "[bold]no[/bold] [/nonsense]" in text


@pytest.mark.parametrize("width", [44, 60, 80, 100, 200])
def test_a_narrow_terminal_loses_no_number_and_no_rule(typical, report_of, width):
    report = report_of(typical)
    text = printed(report, width=width)
    assert max(map(len, text.splitlines())) <= width
    for grid in (block.grid for section in report.sections for block in section.blocks):
        tables = text.count("backward rule")
        assert 1 <= tables <= len(grid.forwards)
        for rule in grid.rules:
            assert len(re.findall(rf"^ {re.escape(str(rule))} ", text, re.MULTILINE)) >= tables
        for forward in grid.forwards:
            assert text.count(f" {forward} ") == 1
    for number in ("75.0 ±10.8", "10.0 ±0.0", "62.0 ±2.5", "◐ 3/3 single class"):
        assert number in text
