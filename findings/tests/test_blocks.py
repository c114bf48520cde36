"""Blocks that summarise are held against the committed tables, which are read here by themselves."""

import csv
import re
from collections import Counter
from statistics import fmean, median

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from findings import tables
from findings.blocks import block
from findings.losses import cells
from tieless.errors import StudyError


def lines(printed: str) -> list[list[str]]:
    """Cells of the rows of a table of Markdown."""
    rows = [line[2:-2].split(" | ") for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def accuracies(name: str, **settings: str) -> dict[str, dict[int, float]]:
    """Final accuracies by rule and seed; a run that diverged counts with chance."""
    found: dict[str, dict[int, float]] = {}
    with (tables.RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["test"] != "never" and all(row[key] == value for key, value in settings.items()):
                value = 0.1 if row["status"] == "diverged" else float(row["test_accuracy"])
                found.setdefault(row["backward"], {})[int(row["seed"])] = value
    return found


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def test_a_matrix_has_the_median_difference_and_the_collapses_of_each_rule():
    printed = block(
        "matrix\n"
        "constant | C\nfull_jam | F\nrelu + positive_jam or full_jam | S\n"
        "relu | lenet5-claims | forward=relu; optimiser=adam\n"
        "linear | lenet5-claims | forward=linear; optimiser=adam\n"
        "logistic | lenet5-claims | forward=logistic; optimiser=adam\n",
        {},
    )
    relu, linear, logistic = lines(printed)
    runs = {forward: accuracies("lenet5-claims", forward=forward, optimiser="adam") for forward in ("relu", "logistic")}

    def difference(forward: str, rule: str) -> float:
        ours, tied = runs[forward][rule], runs[forward]["tied"]
        return median(100 * (ours[seed] - tied[seed]) for seed in ours.keys() & tied.keys())

    assert number(relu[1].split()[0]) == pytest.approx(difference("relu", "constant(1)"), abs=0.006)
    assert number(relu[3].split()[0]) == pytest.approx(difference("relu", "positive_jam"), abs=0.006)
    assert linear[1] == "0.00 ="
    assert linear[3] == linear[2]
    # "inferior by 20 points" holds of Logistic: that is harm.
    assert number(logistic[2].split()[0]) == pytest.approx(difference("logistic", "full_jam"), abs=0.006)
    assert logistic[2].endswith("✕ (5/5)")
    collapsed = sum(value < 0.19 for value in runs["logistic"]["constant(1)"].values())
    assert logistic[1].endswith(f"✕ ({collapsed}/10)")


def test_a_matrix_says_what_is_not_run_and_refuses_what_no_claim_is_about(monkeypatch, tmp_path):
    asked = "matrix\nconstant | C\nrelu | lenet5-claims | forward=relu; optimiser={}"
    with pytest.raises(StudyError, match="No claim of lenet5-claims is about forward=relu; optimiser=lion"):
        block(asked.format("lion"), {})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert lines(block(asked.format("adam"), {})) == [["relu", "not run yet"]]


def test_means_stand_beside_each_other_across_tables():
    printed = block(
        "means\n"
        "ours | direction-first-untuned | full_jam >> gated | forward=relu; optimiser=direction_first\n"
        "theirs | feedback-direction-first | tied | optimiser=adam; feedback=tied\n",
        {},
    )
    ours = accuracies("direction-first-untuned", forward="relu", optimiser="direction_first")["full_jam >> gated"]
    theirs = accuracies("feedback-direction-first", optimiser="adam", feedback="tied")["tied"]
    gains = [100 * (ours[seed] - theirs[seed]) for seed in ours.keys() & theirs.keys()]
    first, second = lines(printed)
    assert [first[1], second[1]] == [f"{100 * fmean(own.values()):.1f}" for own in (ours, theirs)]
    assert [number(text) for text in re.findall(r"[+\N{MINUS SIGN}][\d.]+", second[4])] == pytest.approx(
        [fmean(gains), min(gains), max(gains)], abs=0.006
    )
    with pytest.raises(StudyError, match="feedback-direction-first has 0 runs of constant with optimiser=adam"):
        block("means\nx | feedback-direction-first | constant | optimiser=adam", {})


def test_choices_count_runners_up_within_noise_and_ends_of_grids():
    found: dict[str, dict[float, float]] = {}
    with (tables.RESULTS / "feedback-alignment.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["test"] == "never":
                key = f"{row['backward']} through {row['feedback']}"
                found.setdefault(key, {})[float(row["learning_rate"])] = float(row["validation_accuracy"] or 0.1)
    near = ends = 0
    for by_rate in found.values():
        (best, rate), (second, _) = sorted(((value, rate) for rate, value in by_rate.items()), reverse=True)[:2]
        error = np.sqrt((best * (1 - best) + second * (1 - second)) / 6000)
        near += best - second <= 2 * error
        ends += rate in {min(by_rate), max(by_rate)}
    printed = lines(block("choices feedback-alignment", {}))
    assert printed == [["`beyond/feedback-alignment`", "7", "1", f"{near} of 7", f"{ends} of 7"]]
    with pytest.raises(StudyError, match="paper/suc-ones chooses no learning rates"):
        block("choices suc-ones", {})


def test_a_tally_counts_what_the_pages_show():
    shown = {}
    block("verdicts suc-ones", shown)
    block("asked suc-ones\nconstant is superior to frozen by 1 point", shown)
    found = Counter(row.verdict.verdict for row in shown["suc-ones"])
    printed = block("tally suc-ones", shown)
    assert printed.startswith(
        f"{sum(found.values())} comparisons: {found['holds']} hold, {found['does not hold']} do not hold, "
    )
    assert f", {found['identical']} identical" in printed
    assert printed.endswith("2 asked after the runs.")


def test_what_another_network_explains_rests_on_three_forwards():
    """By a correlation of the losses, each less the mean of its rule, instead of a regression."""
    lost = {
        model: {(c.forward, c.group[2]): c.lost for c in cells() if c.group[:2] == (model, "adam")} for model in MODELS
    }
    common = sorted(lost["lenet5"].keys() & lost["mlp(256, 2)"].keys())
    few = [key for key in common if key[0] not in FAILING]

    def correlation(keys):
        rules = [rule for _, rule in keys]
        mean = {(m, r): fmean(lost[m][key] for key in keys if key[1] == r) for m in MODELS for r in set(rules)}
        return np.corrcoef(*([lost[m][key] - mean[m, key[1]] for key in keys] for m in MODELS))[0, 1]

    assert correlation(common) > 0.8
    assert correlation(few) < 0.65
    printed = lines(block(f"elsewhere adam {' '.join(FAILING)}", {}))
    assert [row[1][:6] for row in printed] == ["all 13", "10, wi"] * 2
    assert min(number(row[2]) for row in printed[::2]) > 0.6
    assert max(number(row[2]) for row in printed[1::2]) < 0.3


MODELS = ("lenet5", "mlp(256, 2)")
FAILING = ("logistic", "hard_sigmoid", "abs")
