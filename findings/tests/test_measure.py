"""Measurements see a run as it is, change nothing in it, and end up in tables."""

import re
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner

from tests.study.fakes import make_study
from tieless.errors import StudyError
from tieless.study import Store, Trial
from tieless.study.network import start_of
from tieless.study.running.training import run_trial

pytest.importorskip("matplotlib")

from findings import pages, tables
from findings.__main__ import main
from findings.measure import mechanisms, robustness
from findings.measure.looking import looked_at

TRIAL = Trial(
    data="digits", subset=200, model="mlp(16, 1)", forward="relu", backward="full_jam", optimiser="sgd",
    learning_rate=0.1, batch=50, epochs=1, seed=3, monitor=2,
)  # fmt: skip


def test_units_are_looked_at_as_the_derivative_sees_them():
    rows, result = mechanisms.health_rows("a study", replace(TRIAL, monitor=0), steps=(0, 2, 99))
    assert result.status == "done"
    assert [(row["step"], row["activation"]) for row in rows] == [(0, 1), (2, 1)]
    model, data = start_of(TRIAL)
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        z = first(data.train_x[: mechanisms.PROBE].flatten(1))
    off = z.relu() == 0
    assert rows[0]["saturated"] == f"{float(off.float().mean()):.4g}"
    assert rows[0]["constant"] == f"{float(off.all(0).float().mean()):.4g}"
    assert rows[0]["spread"] == f"{float(z.std(correction=0)):.4g}"
    assert rows[0]["spread"] != rows[1]["spread"]
    # To look changes nothing.
    (seen,), (unseen,) = result.epochs, run_trial(replace(TRIAL, monitor=0)).epochs
    assert replace(seen, seconds=0) == replace(unseen, seconds=0)


def test_a_run_ends_behind_the_last_look():
    rows, result = mechanisms.health_rows("a study", replace(TRIAL, monitor=0, epochs=10**6), steps=(0, 1))
    assert [row["step"] for row in rows] == [0, 1]
    assert result.epochs == ()


def test_the_size_of_what_is_sent_is_that_of_the_gradient_at_z():
    rows, result = mechanisms.feedback_rows("a study", replace(TRIAL, monitor=0), steps=(0, 2, 99))
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


def test_a_forward_is_looked_at_where_its_network_is():
    """At the start and before step 100 of the tied run, by every rule; an untied run is asked about its own."""
    trial = replace(TRIAL, subset=None, monitor=0, batch=10, epochs=10**6, backward="tied")
    rows = robustness.robustness_rows(trial)
    assert [(row["look"], row["rule"]) for row in rows] == [
        (look, rule) for look in ("0", "100") for rule in robustness.RULES
    ]
    model, data = start_of(trial)
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        z = first(data.train_x[: robustness.IMAGES].flatten(1))
    passed = float((z > 0).float().mean())
    assert rows[0]["masked"] == rows[0]["saturated"] == f"{1 - passed:.4g}"
    assert rows[0]["gain"] == f"{passed**0.5:.4g}"
    assert rows[0]["masked"] != rows[4]["masked"]
    assert all(0 < float(row["alignment"]) < 1 for row in rows)
    (own,) = robustness.robustness_rows(replace(trial, backward="full_jam"))
    assert (own["look"], own["rule"]) == ("100 untied", "full_jam")


def test_a_run_that_cannot_be_looked_at_is_named():
    with pytest.raises(
        StudyError, match=r"^mlp\(16, 1\), sgd, relu, full_jam, seed 3: it ended before the first look\.$"
    ):
        robustness.robustness_rows(replace(TRIAL, subset=None, monitor=0))
    with pytest.raises(StudyError, match=r"seed 3: ValueError: no\.$"):
        looked_at(TRIAL, (0,), Mock(side_effect=ValueError("no")))


def test_layers_are_those_of_the_monitor():
    result = run_trial(TRIAL)
    rows = mechanisms.layer_rows("a study", [result])
    weights = [row for row in result.alignments if row.kind == "weights"]
    assert [(row["step"], row["layer"]) for row in rows] == [(row.step, row.layer) for row in weights]
    assert [float(row["cosine"]) for row in rows] == pytest.approx([row.cosine for row in weights], rel=1e-3)
    assert {row["backward"] for row in rows} == {"full_jam"}


def test_a_table_keeps_what_it_has_of_other_studies(tmp_path):
    study = replace(make_study(), name="monitored", trials=(TRIAL,))
    (tmp_path / "runs").mkdir()
    with Store.create(tmp_path / "runs", study) as store:
        store.add(run_trial(TRIAL))
    file, columns = tmp_path / "t.csv", mechanisms.LAYERS
    old = dict.fromkeys(columns, "0")
    tables.write(file, columns, [old | {"study": "another"}, old | {"study": "monitored"}])
    for _ in range(2):
        done = CliRunner().invoke(main, ["measure", "layers", str(tmp_path / "runs"), "--out", str(file)])
        assert done.output == f"{file}\n"
        first, *rest = tables.read(file, columns)
        assert first == old | {"study": "another"}
        assert {(row["study"], row["step"]) for row in rest} == {("monitored", "0"), ("monitored", "2")}


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch):
    def said(*words):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        return done.output

    assert re.fullmatch(r"Error: [^\n]*\n", said("measure", "layers", str(tmp_path), "--out", str(tmp_path / "t.csv")))
    other = tmp_path / "other.csv"
    for content in (b"a,b\n1,2\n", b"\xff"):
        other.write_bytes(content)
        for what in (["robustness"], ["layers", str(tmp_path)]):
            assert re.fullmatch(
                r"Error: [^\n]*other.csv[^\n]*ame another file\.\n", said("measure", *what, "--out", str(other))
            )
            assert other.read_bytes() == content
    monkeypatch.setattr(pages, "PAGES", tmp_path)
    assert re.fullmatch(r"Error: There are no pages in [^\n]*\n", said("check"))
    assert "No such command 'chek'" in said("chek")


def test_the_cells_that_are_looked_at_are_those_of_the_studies():
    cases = mechanisms.health_cases()
    assert {study for study, _, _ in cases} == set(mechanisms.HEALTH_CASES)
    for study, (_, by_model) in mechanisms.HEALTH_CASES.items():
        found = {(trial.model, trial.backward) for name, trial, _ in cases if name == study}
        assert found == {(model, rule) for model, rules in by_model.items() for rule in rules}


def test_measuring_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    of_seed = [trial for trial in robustness.tested() if trial.forward == "relu" and trial.seed == 0]
    trials = [trial for trial in of_seed if trial.backward in {"tied", "full_jam"}]
    begun = []
    monkeypatch.setattr(robustness, "tested", lambda: trials)

    def rows_of(trial, left):
        if len(begun) == left:
            raise KeyboardInterrupt
        begun.append(trial)
        looks = ("0", "100") if trial.backward == "tied" else ("100 untied",)
        own = {name: getattr(trial, name) for name in robustness.KEY}
        return [own | {"look": look, "rule": "full_jam", "gain": 0.5} for look in looks]

    for left in (1, 3, len(trials)):
        monkeypatch.setattr(robustness, "robustness_rows", lambda trial, left=left: rows_of(trial, left))
        done = CliRunner().invoke(main, ["measure", "robustness", "--out", str(tmp_path / "t.csv")])
        assert begun == trials[:left]
        assert ("goes on from here" in done.output) == (left < len(trials))
    rows = tables.read(tmp_path / "t.csv", robustness.COLUMNS)
    assert len(rows) == sum(2 if trial.backward == "tied" else 1 for trial in trials)
    assert robustness.missing(trials, rows) == []


@pytest.mark.parametrize(
    ("name", "inverse"), [("relu", 1), ("logistic", 4), ("hard_sigmoid", 6), ("linear", 1), ("sawtooth", 0)]
)
def test_flatness_is_the_inverse_of_the_lipschitz_constant(name, inverse):
    assert robustness.flatness(name) == pytest.approx(inverse, abs=2e-3)
