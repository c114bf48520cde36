"""Figures for a paper: what they draw is what was measured, in every format, whatever names it has."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tests.report.conftest import LEVELS
from tests.study.fakes import claiming, noisy
from tieless.errors import StudyError
from tieless.report import (
    figures,
    latex,
    plot_curves,
    plot_forest,
    plot_heatmap,
    plot_table,
    words,
    write_figure,
)
from tieless.report.collect import assemble
from tieless.study.results.store import Store
from tieless.study.trial import Trial

BAD = 'full_jam(gate="$x_{1}$ 100% & input{/etc/passwd} ~^#")'


@pytest.fixture
def report(typical, report_of):
    return report_of(typical)


@pytest.fixture(scope="module")
def judged():
    study = claiming("seeds=0..9")
    return assemble(study, [noisy(trial) for trial in study.trials])


@pytest.fixture
def folder(tmp_path, typical, study):
    with Store.create(tmp_path, study(result.trial for result in typical)) as store:
        store.add_all(typical)
    return tmp_path


def test_curves_go_through_the_means_of_the_seeds(report):
    figure = plot_curves(report)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["relu", "logistic", "heaviside"]
    lines = {line.get_label(): list(line.get_ydata()) for line in panels["relu"].lines}
    for rule in ("tied", "frozen"):
        mean = 100 * sum(LEVELS["relu", rule]) / 3
        assert lines[rule] == pytest.approx([mean / 2, mean])
    # Of the runs that finished.
    assert lines["full_jam"] == pytest.approx([32.5, 65.0])
    assert {text.get_text() for text in figure.legends[0].texts} == {"tied", "frozen", "constant(1)", "full_jam"}


def test_a_heat_map_has_the_means(report):
    (axes,) = plot_heatmap(report).axes
    shown = axes.images[0].get_array()
    grid = report.sections[0].table
    for row, rule in enumerate(grid.rules):
        for column, forward in enumerate(grid.forwards):
            cell = grid.cell(rule.rule, forward)
            if cell is None:
                assert shown.mask[row, column]
            else:
                assert shown[row, column] == pytest.approx(100 * cell.value.mean)
    assert "75.0" in {text.get_text() for text in axes.texts}


def test_a_forest_has_the_intervals_and_the_margins(judged):
    (axes,) = plot_forest(judged).axes
    cells = [(verdict.claim, cell) for verdict in judged.claims for cell in verdict.cells]
    spans = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6]
    assert len(spans) == len(cells) > 1
    for line, (_, cell) in zip(spans, cells, strict=True):
        low, high = cell.differences.interval
        assert list(line.get_xdata()) == pytest.approx([100 * low, 100 * high])
    (claim, _), edges = cells[0], [line.get_xdata() for line in axes.lines if line.get_linestyle() == ":"]
    assert edges[0][0] == pytest.approx(-claim.margin)


def test_a_table_has_the_numbers_of_the_page(report):
    rows = [line for line in latex(report).splitlines() if line.endswith(r"\\")]
    head, *body = [[part.strip() for part in line.removesuffix(r"\\").split("&")] for line in rows]
    assert head == ["backward rule", "relu", "logistic", "heaviside"]
    assert body[0] == [r"\texttt{tied}", r"81.0 $\pm$2.5", r"71.0 $\pm$2.5", "--"]
    (axes,) = plot_table(report).axes
    texts = {cell.get_text().get_text() for cell in axes.tables[0].get_celld().values()}
    assert {"81.0 ±2.5", "tied", "relu"} <= texts


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
@pytest.mark.parametrize("kind", ["curves", "table", "heatmap"])
def test_every_format_is_written_and_equal_results_give_equal_files(folder, kind, form):
    file = write_figure(folder, kind, form)
    assert file == folder / f"{kind}.{form}"
    content = file.read_bytes()
    assert content.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[form])
    assert write_figure(folder, kind, form, folder / "other").read_bytes() == content
    if form == "svg":
        ET.fromstring(content)  # noqa: S314 - our own file
        assert b"constant(1)" in content


def test_names_of_others_are_text_in_every_format(trial, result, study, tmp_path):
    made = []
    for seed in range(3):
        for rule in ("tied", BAD):
            hostile = Trial.from_dict({**trial(seed=seed).to_dict(), "backward": rule, "model": BAD})
            made.append(result(hostile, 0.5, 0.6))
    plan = study([each.trial for each in made])
    with Store.create(tmp_path, plan) as store:
        store.add_all(made)
    for kind in ("curves", "table", "heatmap"):
        text = write_figure(tmp_path, kind, "svg").read_text(encoding="utf-8")
        assert "$x_{1}$ 100% & input{/etc/passwd} ~^#" in "".join(ET.fromstring(text).itertext())  # noqa: S314 - our own file
    text = write_figure(tmp_path, "table", "tex").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if "passwd" in line and not line.startswith("%")]
    assert r'gate="\$x\_\{1\}\$ 100\% \& input\{/etc/passwd\} \textasciitilde{}\textasciicircum{}\#")' in row
    assert figures._escaped(r"\input") == r"\textbackslash{}input"
    assert len(re.findall(r"(?<!\\)&", row)) == 1


def test_two_seeds_stand_both_in_a_table(trial, result, report_of):
    made = [result(trial(seed=seed), 0.5, end) for seed, end in enumerate((0.7, 0.8))]
    assert r"\texttt{tied} & 75.0 (70.0, 80.0) \\" in latex(report_of(made))


def test_nothing_to_draw_is_one_line(tmp_path, trial, study, folder, report):
    for draw in (plot_heatmap, plot_table, latex, plot_curves):
        with pytest.raises(StudyError, match="to draw: no trial"):
            draw(assemble(study([trial()]), []))
    with pytest.raises(StudyError, match="no claim of the study has enough runs"):
        plot_forest(report)
    with pytest.raises(StudyError, match="A forest has no tex"):
        write_figure(folder, "forest", "tex")
    with pytest.raises(StudyError, match=r"Cannot write .*: Is a directory\. Choose another with --out"):
        write_figure(folder, "table", "tex", folder)
    assert words.titles(report)[report.sections[0].settings] == "suc on digits"
