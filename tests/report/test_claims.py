"""Claims in a report: first on the page, said as in the terminal, and drawn where they are said to be."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tests.study.fakes import choosing, claiming, noisy
from tieless.report import claim_words, claims, html, table, words
from tieless.report.chart import STRIP_WIDTH, forest
from tieless.report.collect import assemble
from tieless.study import judge, parse_claim
from tieless.study.results.plan import planned


@pytest.fixture
def report():
    study = claiming("seeds=[0,1,2,3,4]")
    return assemble(study, [noisy(trial) for trial in study.trials])


def printed(shown, width=300):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    return console.file.getvalue()


def test_a_page_opens_with_its_claims_and_the_terminal_ends_with_them(report):
    assert printed(table(report)).rstrip().endswith(printed(claims(report.claims)).rstrip())
    page = html.render(report)
    assert page.index("<h1>") < page.index(report.claims[0].text) < page.index("Trials run")
    assert re.findall(r'class="claim v-([a-z-]+)"', page) == [
        verdict.verdict.replace(" ", "-") for verdict in report.claims
    ]


def test_page_and_terminal_say_the_same(report):
    page, text = " ".join(html.render(report).split()), printed(claims(report.claims))
    for verdict in report.claims:
        for cell in verdict.cells:
            line = claim_words.cell_line(cell, verdict)
            assert line in text
            assert line.replace("<", "&lt;").replace(">", "&gt;") in page
    assert claim_words.method(report.claims) in page


def test_a_study_without_claims_has_none_on_its_page(typical, report_of):
    page = html.render(report_of(typical))
    assert 'id="claims"' not in page
    assert 'id="choices"' not in page


@pytest.mark.parametrize("relation", ["non-inferior", "superior", "inferior", "equivalent"])
def test_a_drawing_puts_everything_in_its_order(relation):
    study = claiming("seeds=0..9")
    claim = parse_claim(f"full_jam is {relation} to tied by 2 points")
    (verdict,) = judge([claim], study, [noisy(trial) for trial in study.trials])
    drawn = forest(verdict.cells[0], claim)
    assert 0 <= drawn.low < drawn.median < drawn.high < drawn.zero == STRIP_WIDTH / 2
    assert all((edge < drawn.zero) == (points < 0) for edge, points in zip(drawn.margins, (-1, 1), strict=False)) or (
        relation == "superior"
    )
    low, high = verdict.cells[0].differences.interval
    assert (drawn.zero - drawn.high) / (drawn.zero - drawn.low) == pytest.approx(high / low, abs=0.01)


def test_what_is_not_run_is_said_and_not_drawn():
    study = claiming()
    report = assemble(study, [])
    assert [verdict.text for verdict in report.claims] == ["undecided: not run yet"] * 3
    assert forest(report.claims[0].cells[0], report.claims[0].claim) is None
    page = html.render(report)
    assert page.count('class="forest"') == 0
    assert page.count("undecided: not run yet") == 3


def test_choices_are_shown_with_what_was_tried():
    study = choosing()
    results = [noisy(trial) for trial in study.trials]
    plan = planned(study, results, (), None)
    assert len(plan.trials) == 36
    report = assemble(plan, [*results, *(noisy(trial) for trial in plan.trials[24:])])
    assert [choice.learning_rate for choice in report.choices] == [0.1] * 4
    page = html.render(report)
    for choice in report.choices:
        for tried in choice.tried:
            assert f"{words.rate(tried.learning_rate)}: {words.value(tried.value)}" in page
    (section,) = report.sections
    assert (section.chosen, section.best, len(section.blocks)) == (True, None, 1)
    assert all(run.value is not None for cell in section.blocks[0].grid.cells for run in cell.runs)
    before = html.render(assemble(plan, results[:3]))
    assert "None is chosen yet." in before


def test_both_questions_are_told_with_their_numbers():
    study = replace(claiming("seeds=0..9"), claims=(parse_claim("constant is non-inferior to tied by 4 points"),))
    found = assemble(study, [noisy(trial) for trial in study.trials]).claims[0]
    line = claim_words.cell_line(found.cells[0], found)
    (cell,) = found.cells
    low, high = (words.whole(100 * end) for end in (cell.excess.low, cell.excess.high))
    assert f"; collapsed 0 and 0 of 10 (excess {low} to {high} %); " in line
    assert f"the difference: {cell.of_differences}; collapses, 20 % more allowed: undecided; needs about " in line
    assert cell.of_differences == "holds"


def test_an_identity_is_shown_apart():
    study = claiming("seeds=0..9")
    results = [replace(noisy(trial.with_seed(trial.seed)), trial=trial) for trial in study.trials]
    same = {result.trial.seed: result.epochs for result in results if result.trial.backward == "tied"}
    results = [replace(r, epochs=same[r.trial.seed]) if r.trial.backward == "constant(1)" else r for r in results]
    report = assemble(study, results)
    assert report.claims[0].text == "identical runs, which are no evidence"
    page = html.render(report)
    assert 'class="claim v-identical"' in page
    assert claim_words.SYMBOLS["identical"] in page
    assert "identical runs" in printed(claims(report.claims))
