"""The pages of findings are printed from committed tables, and claims are judged there as in the studies."""

import hashlib
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from tests.study.fakes import make_result
from tieless import untie
from tieless.errors import StudyError
from tieless.study import EpochRecord, Result, Trial, export_table, judge, load_study, parse_claim
from tieless.study.results.plan import planned

pytest.importorskip("matplotlib")

from findings import pages, tables
from findings.__main__ import main
from findings.blocks import block, claims, measured
from findings.figures import FIGURES, claims as figure_claims, draw
from findings.figures.axes import short

PAGES = pages.PAGES


def test_the_committed_pages_are_what_the_data_say():
    """If not: make findings."""
    texts, _ = pages.pages()
    assert pages.differing(texts) == []
    assert {file.name for file in texts} == {file.name for file in PAGES.glob("*.md")}


def test_every_verdict_table_of_the_pages_is_printed():
    """A number that stands outside of a block is a setting or a threshold, never a result."""
    for file in PAGES.glob("*.md"):
        prose = re.sub(r"<!-- findings: .*?<!-- end -->", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
        assert not re.search(r"\d\d\.\d|[+\N{MINUS SIGN}]\d+\.\d|\*\*(holds|does not hold|undecided)\*\*", prose), (
            file.name
        )


def test_a_claim_taken_apart_is_judged_as_it_is_whole():
    for name in tables.STUDIES:
        study, results = tables.runs(name)
        rows = tables.judged(name)
        cells = [cell for verdict in judge(study.claims, study, results) for cell in verdict.cells]
        assert [replace(row.verdict.cells[0], settings="") for row in rows] == [replace(c, settings="") for c in cells]
        assert {row.verdict.family for row in rows} <= {len(cells)}


def test_each_page_shows_the_figure_that_is_drawn_of_it():
    assert {file.stem for file in PAGES.glob("*.svg")} == set(FIGURES)
    for name, (page, _) in FIGURES.items():
        assert f"]({name}.svg)" in (PAGES / page).read_text(encoding="utf-8")
        root = ET.parse(PAGES / f"{name}.svg").getroot()  # noqa: S314 - our own file
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(said) > 8, name
        # Not wider than a phone, on which small text would be too small, and in other colours on dark ground.
        assert float(root.attrib["width"].removesuffix("pt")) < 330
        assert "@media (prefers-color-scheme: dark)" in (PAGES / f"{name}.svg").read_text(encoding="utf-8")


def test_a_figure_names_what_its_page_compares(tmp_path):
    shown = {}
    pages.filled((PAGES / "step-functions.md").read_text(encoding="utf-8"), "step-functions.md", shown)
    rows = [row for name in shown for row in shown[name]]
    assert len(rows) > 20
    draw("step-functions", rows, tmp_path / "f.svg")
    said = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert all(short(row.claim.candidate) in said for row in rows if row.claim.candidate != "frozen")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("rectangular(-0.5, 0.5)", "window ±0.5"),
        ('rectangular_jam(-5, 5, gate="feedback", replace="magnitude")', "rectangular jam, C"),
        ('positive_jam(gate="feedback")', "positive jam, B"),
        ("heaviside + rectangular(-1, 1)", "Heaviside + window ±1"),
        ("constant(1) >> gated, relu, direction_first", "constant, gated, ReLU, DirectionFirst"),
        ("tied through fa", "FA"),
        ('mlp(64, 2, norm="batch")', "MLP(64, 2), batch norm"),
        ("suc, adam(weight_decay=0.01)", "Single unit, AdamW"),
        ('alternate("tied", "full_jam")', "tied and full jam in turn"),
        ("cubic(3)", "cubic(3)"),
    ],
)
def test_a_figure_has_short_words_for_a_specification(spec, words):
    assert short(spec) == words


def test_a_colour_says_what_is_good_for_the_network_whatever_the_claim_says(copied):
    rows = tables.judged("lenet5-claims")
    worse = next(r for r in rows if r.claim.relation == "inferior to" and r.verdict.verdict == "does not hold")
    harmed = next(r for r in rows if r.claim.relation == "non-inferior to" and r.verdict.verdict == "does not hold")
    assert figure_claims._look(worse) == figure_claims.GOOD
    assert figure_claims._look(harmed) == figure_claims.BAD


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Pages and tables in a folder of their own."""
    shutil.copytree(PAGES, tmp_path / "findings")
    shutil.copytree(tables.RESULTS, tmp_path / "results")
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(pages, "PAGES", tmp_path / "findings")
    return tmp_path


def _keep(folder, *names):
    """Leave only these pages; some take a second each."""
    for page in folder.glob("*.md"):
        if page.name not in names:
            page.unlink()


def test_a_number_that_was_changed_by_hand_is_found_and_printed_anew(copied, monkeypatch):
    _keep(copied / "findings", "magnitude.md", "saturation.md")
    monkeypatch.setattr(pages, "FIGURES", {})
    page = copied / "findings" / "magnitude.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("+2.78", "+3.78"), encoding="utf-8")
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 1
    assert checked.output == "Not what the data say: magnitude.md. Run 'make findings'.\n"
    assert page.read_text(encoding="utf-8") != right
    assert "of which 1 have changed" in CliRunner().invoke(main, []).output
    assert page.read_text(encoding="utf-8") == right
    assert CliRunner().invoke(main, ["check"]).exit_code == 0


def test_a_number_that_changed_in_the_data_changes_the_page(copied):
    _keep(copied / "findings", "magnitude.md", "saturation.md")
    table = copied / "results" / "mlp-digits.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if ",9,cpu," not in line), encoding="utf-8")
    assert pages.differing(pages.pages()[0]) == ["magnitude.md"]


def test_a_figure_that_was_changed_by_hand_is_found(copied, monkeypatch):
    _keep(copied / "findings", "dead-units.md")
    monkeypatch.setattr(pages, "FIGURES", {"dead-units": pages.FIGURES["dead-units"]})
    assert CliRunner().invoke(main, ["check"]).exit_code == 0
    figure = copied / "findings" / "dead-units.svg"
    figure.write_text(figure.read_text(encoding="utf-8").replace("updates", "epochs"), encoding="utf-8")
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 1
    assert checked.output == "Not what the data say: dead-units.svg. Run 'make findings'.\n"


def test_what_is_not_run_yet_says_so_in_its_place(copied):
    (copied / "results" / "flip.csv").unlink()
    for directive in ("data flip", "verdicts flip", "doses flip", "cosines rotate flip", "again flip drop"):
        assert block(directive, {}).startswith(
            '!!! warning "Not run yet"\n\n    `beyond/flip` has no `docs/results/flip.csv`'
        )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "<!-- findings: verdict suc-ones -->\n<!-- end -->",
            r"page.md, line 1: Unknown block 'verdict'. There are: across, again,",
        ),
        (
            "\n<!-- findings: data gone -->\n<!-- end -->",
            r"page.md, line 2: Unknown table 'gone'. There are: suc-ones,",
        ),
        ("<!-- findings: data suc-ones -->\n", r"page.md: expected '<!-- end -->' behind each"),
        (
            "<!-- findings: data suc-ones -->\n<!-- findings: data suc-ones -->\n<!-- end -->\n<!-- end -->",
            r"page.md: expected '<!-- end -->' behind each",
        ),
        ("<!-- findings: asked suc-ones\nbest is best\n-->\n<!-- end -->", r"page.md, line 1: Cannot read the claim"),
        (
            "<!-- findings: asked suc-ones -->\n<!-- end -->",
            r"page.md, line 1: The block 'asked suc-ones' asks nothing",
        ),
        (
            "<!-- findings: verdicts suc-ones zebra -->\n<!-- end -->",
            r"No claim of paper/suc-ones has the label 'zebra'",
        ),
        (
            "<!-- findings: cells suc-ones optimiser=adam -->\n<!-- end -->",
            r"suc-ones has no cells with optimiser=adam",
        ),
        (
            "<!-- findings: beside suc-ones Peer optimiser=none\ntied | 1.0\n-->\n<!-- end -->",
            r"The block 'beside suc-ones Peer optimiser=none' cannot be printed: 'tied'",
        ),
        ("<!-- findings: again suc-ones -->\n<!-- end -->", r"The block 'again suc-ones' cannot be printed: "),
    ],
)
def test_a_block_that_cannot_be_printed_is_one_line(text, problem):
    with pytest.raises(StudyError, match=problem) as raised:
        pages.filled(text, "page.md", {})
    assert "\n" not in str(raised.value)


def claimed(trial: Trial) -> float:
    """An accuracy that follows from the rule and the seed."""
    noise = hashlib.sha256(trial.id.encode()).digest()[0] / 255 / 100
    return round(0.85 - (0.3 if "replace" in trial.backward else 0.0) + noise, 4)


def results_of(study, accuracy_of) -> list[Result]:
    """Results of all trials of a study, those that follow from others included."""

    def result(trial):
        accuracy = accuracy_of(trial)
        record = EpochRecord(0.5, 0.5, accuracy, accuracy, 0.0, accuracy, accuracy)
        if trial.test == "never":
            record = replace(record, test_loss=None, test_accuracy=None)
        return replace(
            make_result(replace(trial, epochs=1)),
            trial=trial,
            epochs=(record,) * trial.epochs,
            classes=10,
            predicted_classes=10,
        )

    results: list[Result] = []
    while len((plan := planned(study, results, (), None)).trials) > len(results):
        results = [result(trial) for trial in plan.trials]
    return results


def test_the_index_and_its_figure_say_what_the_study_of_the_claims_finds(copied):
    _keep(copied / "findings", "verdicts.md", "jamming.md", "magnitude.md")
    results = results_of(load_study("paper/lenet5-claims", check=False), claimed)
    export_table(results, copied / "results" / "lenet5-claims.csv", form="csv")
    after, own = pages.pages()
    for name in ("jamming", "magnitude"):
        draw(name, own[f"{name}.md"], copied / f"{name}.svg")
    index = copied / "findings" / "verdicts.md"
    assert re.search(
        r"full_jam\(replace=\"magnitude\"\)` is non-inferior.*\| ReLU \| does not hold \| does not hold", after[index]
    )
    assert re.search(r"`full_jam` is inferior.*\| Logistic \| does not hold \| does not hold", after[index])
    drawn = (copied / "jamming.svg").read_text(encoding="utf-8")
    assert "positive jam, C" in drawn


def test_a_table_across_networks_has_each_verdict_in_its_place(copied):
    """Spikes have a baseline of their own, and candidates that they lack."""
    overrides = ["blocks=[digits, snn]", "optimiser=sgd", "learning_rate=0.1"]
    study = load_study("beyond/architectures", overrides=overrides, check=False)

    def accuracy_of(trial):
        lost = {"full_jam": 0.3, "frozen": 0.5, "constant(1)": 0.01 if trial.seed % 2 else 0.0}
        return 0.9 - lost.get(trial.backward, 0.0) + trial.seed / 1e6

    export_table(results_of(study, accuracy_of), copied / "results" / "architectures.csv", form="csv")
    asked = "\n".join(f"frozen is inferior to {rule} by 1 point at the chosen rate" for rule in ("tied", "atan"))
    across = block(f"across architectures\n{asked}", {})
    head, _, digits, snn, *_ = across.splitlines()
    columns = [column.strip() for column in head.split("|")]
    rows = [dict(zip(columns, (cell.strip() for cell in row.split("|")), strict=True)) for row in (digits, snn)]
    assert [row["Baseline"] for row in rows] == ["tied: 90.0 %", "atan(1, 1): 90.0 %"]
    assert [row["Network"] for row in rows] == ["`mlp(64, 2)`", "`snn_cnn(8, 4)`"]
    assert {row["`full_jam`"] for row in rows} == {"\N{MINUS SIGN}30.00 ?"}
    assert [row["`constant(1)`"] for row in rows] == ["\N{MINUS SIGN}0.50 ?", "0.00 ?"]
    assert [row["`full_jam >> gated`"] for row in rows] == ["0.00 =", "\N{EN DASH}"]
    assert [row["`frozen`"] for row in rows] == ["\N{MINUS SIGN}50.00 ✓", "\N{MINUS SIGN}50.00 ?"]
    assert "The 9 comparisons share one error rate, and so do the 2 that were asked after the runs" in across


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("hhuff", "holds up to 0.2, not from 0.4 on"),
        ("hhhhh", "holds up to 0.5"),
        ("fffff", "not from 0.1 on"),
        ("uhuuu", "undecided"),
        ("hfhuu", "holds up to 0.1"),
        ("hfhff", "holds up to 0.1, not from 0.4 on"),
    ],
)
def test_doses_that_hold_are_those_below_the_first_that_does_not(said, text):
    verdicts = {"h": "holds", "f": "does not hold", "u": "undecided"}
    rows = [
        tables.Row("flip", parse_claim(f"tied >> flip({i / 10}) is non-inferior to tied by 1 point"), {}, one)
        for i, one in enumerate((SimpleNamespace(verdict=verdicts[letter]) for letter in said), start=1)
    ]
    assert claims._up_to(rows) == text


@pytest.mark.parametrize("what", ["flip(0.2)", "rotate(53.130102)", "drop(0.64)"])
def test_the_cosine_of_a_dose_is_that_of_what_is_sent(what):
    """Many numbers, disturbed once: the cosine that is computed is that which is seen."""
    claim = parse_claim(f"tied >> {what} is non-inferior to tied by 1 point")
    z = torch.ones(8, 20_000, requires_grad=True)
    feedback = torch.randn(8, 20_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    (sent,) = torch.autograd.grad(untie(z, "relu", claim.candidate), z, feedback)
    seen = torch.nn.functional.cosine_similarity(sent, feedback, dim=1).mean()
    assert tables.cosine(claim) == pytest.approx(0.6, abs=1e-6)
    assert float(seen) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(("sigma", "left"), [(1e-3, "0.29 to 0.45"), (1e-4, "0.95 to 0.98")])
def test_what_noise_leaves_is_the_cosine_of_feedback_with_and_without_it(sigma, left):
    sizes = [3e-4, 5e-4]
    assert measured._left(sizes, sigma) == left
    draw = torch.Generator().manual_seed(0)
    feedback = [size * torch.randn(1_000_000, generator=draw) for size in sizes]
    noisy = [one + sigma * torch.randn(1_000_000, generator=draw) for one in feedback]
    cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(feedback, noisy, strict=True)]
    assert cosines == pytest.approx([float(value) for value in left.split(" to ")], abs=0.01)
