"""The pages of findings are what their program prints from committed data, and the program judges as the studies do."""

import hashlib
import importlib
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.study.fakes import make_result
from tieless import untie
from tieless.errors import StudyError
from tieless.study import EpochRecord, Result, Trial, export_table, judge, load_study, parse_claim
from tieless.study.network import start_of
from tieless.study.results.plan import planned
from tieless.study.running.training import run_trial

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "findings"
NAMES = (
    *("findings", "finding_blocks", "finding_data", "finding_figures", "finding_measured", "finding_tables"),
    *("mechanisms", "robustness"),
)


@pytest.fixture(scope="module")
def tools():
    """The programs as modules, by name."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(ROOT / "tools"))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def printed(tools):
    return tools["findings"].pages()


def test_the_committed_pages_are_what_the_data_say(tools, printed):
    """If not: make findings."""
    assert tools["findings"].differing(printed[0]) == []
    assert {file.name for file in printed[0]} == {file.name for file in PAGES.glob("*.md")}


def test_every_verdict_table_of_the_pages_is_printed(printed):
    """A number that stands outside of a block is a setting or a threshold, never a result."""
    for file, text in printed[0].items():
        prose = re.sub(r"<!-- findings: .*?<!-- end -->", "", text, flags=re.DOTALL)
        prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
        assert not re.search(r"\d\d\.\d|[+\N{MINUS SIGN}]\d+\.\d|\*\*(holds|does not hold|undecided)\*\*", prose), (
            file.name
        )


def test_a_claim_taken_apart_is_judged_as_it_is_whole(tools):
    data = tools["finding_data"]
    for name in data.STUDIES:
        if not data.there(name):
            continue
        study, results = data.runs(name)
        rows = data.judged(name, study.claims)
        cells = [cell for verdict in judge(study.claims, study, results) for cell in verdict.cells]
        assert [replace(row.verdict.cells[0], settings="") for row in rows] == [replace(c, settings="") for c in cells]
        assert {row.verdict.family for row in rows} <= {len(cells)}


def test_each_page_shows_the_figure_that_is_drawn_of_it(tools):
    figures = tools["finding_figures"].FIGURES
    assert {file.stem for file in PAGES.glob("*.svg")} == set(figures)
    for name, (page, _) in figures.items():
        assert f"]({name}.svg)" in (PAGES / page).read_text(encoding="utf-8")
        root = ET.parse(PAGES / f"{name}.svg").getroot()  # noqa: S314 - our own file
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        said = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(said) > 8, name
        # Readable on dark too: it brings its own ground.
        assert "fill: #ffffff" in (PAGES / f"{name}.svg").read_text(encoding="utf-8")


def test_a_figure_names_what_its_page_compares(tools, printed, tmp_path):
    rows = printed[1]["step-functions.md"]
    tools["finding_figures"].draw("step-functions", rows, tmp_path / "f.svg")
    said = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert all(row.claim.candidate in said for row in rows)


@pytest.fixture
def copied(tools, tmp_path, monkeypatch):
    """Pages and tables in a folder of their own."""
    shutil.copytree(PAGES, tmp_path / "findings")
    shutil.copytree(PAGES.parent / "results", tmp_path / "results")
    monkeypatch.setattr(tools["finding_data"], "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tools["findings"], "PAGES", tmp_path / "findings")
    for cached in (tools["finding_data"].runs, tools["finding_data"].measurements):
        cached.cache_clear()
    yield tmp_path
    for cached in (tools["finding_data"].runs, tools["finding_data"].measurements):
        cached.cache_clear()


def _keep(pages, *names):
    """Of some pages, which take a second each, leave only these."""
    for page in pages.glob("*.md"):
        if page.name not in names:
            page.unlink()


def test_a_number_that_was_changed_by_hand_is_found_and_printed_anew(tools, copied, monkeypatch, capsys):
    _keep(copied / "findings", "magnitude.md", "saturation.md")
    page = copied / "findings" / "magnitude.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("+2.67", "+3.67"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^Not what the data say: magnitude\.md\. Run 'make findings'\.$"):
        tools["findings"].main(["--check"])
    assert page.read_text(encoding="utf-8") != right
    monkeypatch.setattr(tools["findings"], "FIGURES", {})
    tools["findings"].main([])
    assert "of which 1 have changed" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == right


def test_a_number_that_changed_in_the_data_changes_the_page(tools, copied):
    _keep(copied / "findings", "magnitude.md", "saturation.md")
    table = copied / "results" / "mlp-digits.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(line for line in lines if ",9,cpu," not in line), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^Not what the data say: magnitude\.md\."):
        tools["findings"].main(["--check"])


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
def test_a_block_that_cannot_be_printed_is_one_line(tools, text, problem):
    with pytest.raises(StudyError, match=problem) as raised:
        tools["findings"].filled(text, "page.md", {})
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


def test_the_index_and_its_figure_say_what_the_study_of_the_claims_finds(tools, copied):
    _keep(copied / "findings", "index.md", "jamming.md", "magnitude.md")
    results = results_of(load_study("paper/lenet5-claims", check=False), claimed)
    export_table(results, copied / "results" / "lenet5-claims.csv", form="csv")
    after, own = tools["findings"].pages(copied / "findings")
    for name in ("jamming", "magnitude"):
        tools["finding_figures"].draw(name, own[f"{name}.md"], copied / f"{name}.svg")
    index = copied / "findings" / "index.md"
    assert re.search(
        r"full_jam\(replace=\"magnitude\"\)` is non-inferior.*\| ReLU \| does not hold \| does not hold", after[index]
    )
    assert re.search(r"`full_jam` is inferior.*\| Logistic \| does not hold \| does not hold", after[index])
    drawn = (copied / "jamming.svg").read_text(encoding="utf-8")
    assert 'positive_jam(gate="feedback", replace="magnitude")' in drawn.replace("&quot;", '"')


def test_a_table_across_networks_has_each_verdict_in_its_place(tools, copied):
    """Spikes have a baseline of their own, and candidates that they lack."""
    overrides = ["blocks=[digits, snn]", "optimiser=sgd", "learning_rate=0.1"]
    study = load_study("beyond/architectures", overrides=overrides, check=False)

    def accuracy_of(trial):
        lost = {"full_jam": 0.3, "frozen": 0.5, "constant(1)": 0.01 if trial.seed % 2 else 0.0}
        return 0.9 - lost.get(trial.backward, 0.0) + trial.seed / 1e6

    export_table(results_of(study, accuracy_of), copied / "results" / "architectures.csv", form="csv")
    asked = "\n".join(f"frozen is inferior to {rule} by 1 point at the chosen rate" for rule in ("tied", "atan"))
    printed = tools["finding_blocks"].block(f"across architectures\n{asked}", {})
    head, _, digits, snn, *_ = printed.splitlines()
    columns = [column.strip() for column in head.split("|")]
    rows = [dict(zip(columns, (cell.strip() for cell in row.split("|")), strict=True)) for row in (digits, snn)]
    assert [row["Baseline"] for row in rows] == ["tied: 90.0 %", "atan(1, 1): 90.0 %"]
    assert [row["Network"] for row in rows] == ["`mlp(64, 2)`", "`snn_cnn(8, 4)`"]
    assert {row["`full_jam`"] for row in rows} == {"\N{MINUS SIGN}30.00 ✕"}
    assert [row["`constant(1)`"] for row in rows] == ["\N{MINUS SIGN}0.50 ?", "\N{MINUS SIGN}0.33 ?"]
    assert [row["`full_jam >> gated`"] for row in rows] == ["0.00 ✓", "\N{EN DASH}"]
    assert {row["`frozen`"] for row in rows} == {"\N{MINUS SIGN}50.00 ✓"}
    assert "adjusted for the 9 comparisons of this family, and for the 2 that were asked after" in printed


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
def test_doses_that_hold_are_those_below_the_first_that_does_not(tools, said, text):
    verdicts = {"h": "holds", "f": "does not hold", "u": "undecided"}
    rows = [
        tools["finding_data"].Row(
            "flip", parse_claim(f"tied >> flip({i / 10}) is non-inferior to tied by 1 point"), {}, one
        )
        for i, one in enumerate((SimpleNamespace(verdict=verdicts[letter]) for letter in said), start=1)
    ]
    assert tools["finding_blocks"]._up_to(rows) == text


@pytest.mark.parametrize("what", ["flip(0.2)", "rotate(53.130102)", "drop(0.64)"])
def test_the_cosine_of_a_dose_is_that_of_what_is_sent(tools, what):
    """Many numbers, disturbed once: the cosine that is computed is that which is seen."""
    claim = parse_claim(f"tied >> {what} is non-inferior to tied by 1 point")
    z = torch.ones(8, 20_000, requires_grad=True)
    feedback = torch.randn(8, 20_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    (sent,) = torch.autograd.grad(untie(z, "relu", claim.candidate), z, feedback)
    seen = torch.nn.functional.cosine_similarity(sent, feedback, dim=1).mean()
    assert tools["finding_data"].cosine(claim) == pytest.approx(0.6, abs=1e-6)
    assert float(seen) == pytest.approx(0.6, abs=0.01)


TRIAL = Trial(
    data="digits", subset=200, model="mlp(16, 1)", forward="relu", backward="full_jam", optimiser="sgd",
    learning_rate=0.1, batch=50, epochs=1, seed=3, monitor=2,
)  # fmt: skip


def test_units_are_looked_at_as_the_derivative_sees_them(tools):
    rows, result = tools["mechanisms"].health_rows("a study", replace(TRIAL, monitor=0), looks=(0, 2, 99))
    assert result.status == "done"
    assert [(row["step"], row["activation"]) for row in rows] == [(0, 1), (2, 1)]
    model, data = start_of(TRIAL)
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        z = first(data.train_x[: tools["mechanisms"].PROBE].flatten(1))
    off = z.relu() == 0
    assert rows[0]["saturated"] == f"{float(off.float().mean()):.4g}"
    assert rows[0]["constant"] == f"{float(off.all(0).float().mean()):.4g}"
    assert rows[0]["spread"] == f"{float(z.std(correction=0)):.4g}"
    assert rows[0]["spread"] != rows[1]["spread"]
    # To look changes nothing.
    (seen,), (unseen,) = result.epochs, run_trial(replace(TRIAL, monitor=0)).epochs
    assert replace(seen, seconds=0) == replace(unseen, seconds=0)


def test_a_run_ends_behind_the_last_look(tools):
    rows, result = tools["mechanisms"].health_rows("a study", replace(TRIAL, monitor=0, epochs=10**6), looks=(0, 1))
    assert [row["step"] for row in rows] == [0, 1]
    assert result.epochs == ()


def test_the_size_of_what_is_sent_is_that_of_the_gradient_at_z(tools):
    rows, result = tools["mechanisms"].feedback_rows("a study", replace(TRIAL, monitor=0), looks=(0, 2, 99))
    assert [(row["step"], row["activation"]) for row in rows] == [(0, 1), (2, 1)]
    model, data = start_of(TRIAL)
    inputs, labels = next(iter(data.batches(torch.Generator().manual_seed(2**32 + TRIAL.seed), TRIAL.batch)))
    first, activation, last = list(model.children())[-3:]
    z = first(inputs.flatten(1))
    with torch.random.fork_rng():
        loss = torch.nn.functional.cross_entropy(last(activation(z)), labels)
        (sent,) = torch.autograd.grad(loss, z)
    assert rows[0]["rms"] == f"{float(sent.square().mean().sqrt()):.4g}"
    # To look changes nothing.
    (seen,), (unseen,) = result.epochs, run_trial(replace(TRIAL, monitor=0)).epochs
    assert replace(seen, seconds=0) == replace(unseen, seconds=0)


@pytest.mark.parametrize(("sigma", "left"), [(1e-3, "0.29 to 0.45"), (1e-4, "0.95 to 0.98")])
def test_what_noise_leaves_is_the_cosine_of_feedback_with_and_without_it(tools, sigma, left):
    sizes = [3e-4, 5e-4]
    assert tools["finding_measured"]._left(sizes, sigma) == left
    draw = torch.Generator().manual_seed(0)
    feedback = [size * torch.randn(1_000_000, generator=draw) for size in sizes]
    noisy = [one + sigma * torch.randn(1_000_000, generator=draw) for one in feedback]
    cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(feedback, noisy, strict=True)]
    assert cosines == pytest.approx([float(value) for value in left.split(" to ")], abs=0.01)


def test_layers_are_those_of_the_monitor(tools):
    result = run_trial(TRIAL)
    rows = tools["mechanisms"].layer_rows("a study", [result])
    weights = [row for row in result.alignments if row.kind == "weights"]
    assert [(row["step"], row["layer"]) for row in rows] == [(row.step, row.layer) for row in weights]
    assert [float(row["cosine"]) for row in rows] == pytest.approx([row.cosine for row in weights], rel=1e-3)
    assert {row["backward"] for row in rows} == {"full_jam"}


def test_a_table_keeps_what_it_has_of_other_studies(tools, tmp_path):
    file, columns = tmp_path / "t.csv", tools["mechanisms"].LAYERS
    row = dict.fromkeys(columns, "0")
    tools["mechanisms"].write(file, columns, [row | {"study": "a"}, row | {"study": "b"}])
    new = [row | {"study": "b", "step": 2}]
    assert tools["mechanisms"].others(file, new) == [row | {"study": "a"}]
    assert tools["mechanisms"].others(tmp_path / "none.csv", new) == []


def test_the_programs_say_what_is_wrong_in_one_line(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mechanisms.py", "layers", str(tmp_path), "--out", str(tmp_path / "t.csv")])
    with pytest.raises(SystemExit, match=r"^Error: [^\n]*$"):
        tools["mechanisms"].main()
    other = tmp_path / "other.csv"
    for content in (b"a,b\n1,2\n", b"\xff"):
        other.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["robustness.py", "measure", "--out", str(other)])
        with pytest.raises(SystemExit, match=r"^Error: [^\n]*other.csv[^\n]*Name another file\.$"):
            tools["robustness"].main()
        assert other.read_bytes() == content
    monkeypatch.setattr(tools["findings"], "PAGES", tmp_path)
    with pytest.raises(SystemExit, match=r"^Error: There are no pages in [^\n]*$"):
        tools["findings"].main(["--check"])
    with pytest.raises(SystemExit, match="2"):
        tools["findings"].main(["--chek"])


def test_the_cells_that_are_looked_at_are_those_of_the_studies(tools):
    cases = tools["mechanisms"].cases()
    assert {study for study, _, _ in cases} == set(tools["mechanisms"].CASES)
    for study, (_, by_model) in tools["mechanisms"].CASES.items():
        found = {(trial.model, trial.backward) for name, trial, _ in cases if name == study}
        assert found == {(model, rule) for model, rules in by_model.items() for rule in rules}


def test_measuring_goes_on_where_it_was_interrupted(tools, tmp_path, monkeypatch, capsys):
    robustness = tools["robustness"]
    of_seed = [trial for trial in robustness.tested() if trial.forward == "relu" and trial.seed == 0]
    trials = [trial for trial in of_seed if trial.backward in {"tied", "full_jam"}]
    begun = []
    monkeypatch.setattr(robustness, "tested", lambda: trials)
    monkeypatch.setattr(sys, "argv", ["robustness.py", "measure", "--out", str(tmp_path / "t.csv")])

    def rows_of(trial, left):
        if len(begun) == left:
            raise KeyboardInterrupt
        begun.append(trial)
        looks = ("0", "100") if trial.backward == "tied" else ("100 untied",)
        own = {name: getattr(trial, name) for name in robustness.KEY}
        return [own | {"look": look, "rule": "full_jam", "gain": 0.5} for look in looks]

    for left in (1, 3, len(trials)):
        monkeypatch.setattr(robustness, "rows_of", lambda trial, left=left: rows_of(trial, left))
        robustness.main()
        assert begun == trials[:left]
    assert capsys.readouterr().out.count("goes on from here") == 2
    rows = tools["mechanisms"].read(tmp_path / "t.csv", robustness.COLUMNS)
    assert len(rows) == sum(2 if trial.backward == "tied" else 1 for trial in trials)
    assert robustness.missing(trials, rows) == []


def test_of_several_properties_the_one_that_decides_is_found(tools):
    """Points are lost by alignment alone, from a level of each group; the other properties are noise."""
    robustness = tools["robustness"]
    generator = torch.Generator().manual_seed(0)
    names = [f"{name} @ {look}" for look in robustness.LOOKS for name in (*robustness.SHAPE, "alignment")]
    found = []
    for number in range(14):
        shared = dict(zip(names, torch.rand(len(names), generator=generator).tolist(), strict=True))
        for level, rule in enumerate(robustness.RULES):
            aligned = float(torch.rand((), generator=generator))
            properties = shared | {"alignment @ 0": aligned}
            found.append(
                robustness.Cell(("net", "adam", rule), f"f{number}", 0.8, 5 * level + 20 * aligned, properties)
            )
    by_name = {one.properties: one for one in robustness.predictions(found)}
    assert by_name[()].explained == 0
    right = by_name["alignment @ 0",]
    assert right.explained > 0.95
    assert right.order == pytest.approx(1)
    for name in ("gain @ 0", "masked @ 100"):
        assert by_name[name,].explained < 0.3
        assert by_name[name,].error > 3 * right.error


def test_what_is_held_out_is_a_forward_with_all_its_cells(tools):
    """A property that only tells forwards apart, and not how they differ, explains nothing: no cell of a forward is known."""
    robustness = tools["robustness"]
    generator = torch.Generator().manual_seed(1)
    lost = (30 * torch.rand(14, generator=generator)).tolist()
    names = [f"{name} @ {look}" for look in robustness.LOOKS for name in (*robustness.SHAPE, "alignment")]
    found = [
        robustness.Cell(("net", "adam", rule), f"f{number}", 0.8, lost[number], dict.fromkeys(names, (number * 5) % 14))
        for number in range(14)
        for rule in robustness.RULES
    ]
    assert all(one.explained < 0.2 for one in robustness.predictions(found)[1:])


def test_a_forward_is_known_by_its_twin_unless_that_is_held_out_too(tools):
    """Two twins lose 50 points and no other does; what tells them from the others says it of each by the other alone."""
    robustness = tools["robustness"]
    names = [f"{name} @ {look}" for look in robustness.LOOKS for name in (*robustness.SHAPE, "alignment")]
    found = [
        robustness.Cell(("net", "adam", rule), forward, 0.8, lost, dict.fromkeys(names, told))
        for forward, lost, told in [
            *(("logistic", 50, 10.0), ("hard_sigmoid", 50, 10.5)),
            *((f"f{number}", 2 * (number % 2), number // 2 / 6) for number in range(12)),
        ]
        for rule in robustness.RULES
    ]
    told = robustness.predictions(found)[1]
    assert told.explained > 0.8
    assert told.without_twins < 0.3


@pytest.mark.parametrize(("sign", "least", "most"), [(1, 0.9, 1), (-1, -4, -2)])
def test_what_is_learned_elsewhere_is_held_against_this_network(tools, sign, least, most):
    """The other network loses about as much, from another level on, by the same property, or gains by it."""
    robustness = tools["robustness"]
    aligned = torch.rand(14, 2, generator=torch.Generator().manual_seed(2)).tolist()

    def network(name, level, slope):
        return [
            robustness.Cell((name, "adam", rule), f"f{number}", 0.8, level + slope * each, {"alignment @ 0": each})
            for number, own in enumerate(aligned)
            for rule, each in zip(robustness.RULES[:2], own, strict=True)
        ]

    found, seen = network("a", 5, 20), network("b", 30, sign * 22)
    assert least < robustness.carried(found, seen, ("alignment @ 0",)) <= most
    assert robustness.carried(found, network("b", 30, 0), ("alignment @ 0",)) == pytest.approx(0)


def test_another_network_is_asked_where_it_has_the_same_cell(tools):
    robustness = tools["robustness"]
    found = {(cell.group, cell.forward): cell for cell in robustness.cells()}
    models = {group[0] for group, _ in found}
    assert len(models) == 2
    for (group, forward), cell in found.items():
        (other,) = models - {group[0]}
        twin = found.get(((other, *group[1:]), forward))
        assert cell.properties.get(robustness.ELSEWHERE) == (twin.lost if twin else None)
    # The perceptron trains with forwards under SGD with which LeNet-5 does not, and so has cells of which nobody can be asked.
    asked = {model: robustness.predictions(robustness.here_and_elsewhere(model)[0])[-1].properties for model in models}
    assert asked["lenet5"] == (robustness.ELSEWHERE,) != asked["mlp(256, 2)"]


@pytest.mark.parametrize(
    ("name", "inverse"), [("relu", 1), ("logistic", 4), ("hard_sigmoid", 6), ("linear", 1), ("sawtooth", 0)]
)
def test_flatness_is_the_inverse_of_the_lipschitz_constant(tools, name, inverse):
    assert tools["robustness"].flatness(name) == pytest.approx(inverse, abs=2e-3)
