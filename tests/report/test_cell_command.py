"""The command of a cell repeats that cell, and nothing else of its study."""

import json
import shlex

import pytest

from tieless.report.collect import assemble
from tieless.report.figure_data import FigureData
from tieless.study import load_study

MINE = """
title: A study
question: Does it?
grid:
  data: digits
  subset: [null, 500]
  model: [mlp, 'mlp(8, 2, norm="batch")']
  forward: [relu, heaviside]
  backward: [tied, full_jam >> clip(2), "rectangular(-0.5, 0.5)"]
  feedback: [tied, fa]
  batch: 64
  epochs: 2
  seeds: 0..1
blocks:
  sgd: {optimiser: sgd, learning_rate: [0.01, 0.1]}
  adam: {optimiser: adam, learning_rate: 1e-3}
exclude:
  - {forward: heaviside, backward: tied}
"""


def cells_of(study):
    """Trials and command of each cell of a report of a study, none of whose trials has run."""
    report = assemble(study, [])
    cells = [
        (section, block, cell) for section in report.sections for block in section.blocks for cell in block.grid.cells
    ]
    titles = {section.settings: "" for section in report.sections}
    figures = FigureData(report, titles)
    told = json.loads(figures.json({cell.backward: "" for *_, cell in cells}))
    for section, _, cell in cells:
        record = told["cells"][figures.number(section, cell)]
        yield section, cell, f"{told['sections'][record['section']]['again']} {record['again']}"


def repeated(command):
    program, study, run, name, *options = shlex.split(command)
    assert (program, study, run, options[options.index("--out") + 1]) == ("tieless", "study", "run", "runs/cell")
    overrides = [option.removeprefix("--set=") for option in options if option.startswith("--set=")]
    return load_study(name, overrides, check=False)


@pytest.mark.parametrize("overrides", [[], ["seeds=[0,1,2]", "adam.learning_rate=0.003", "forward=[relu, heaviside]"]])
def test_the_command_of_a_cell_gives_its_trials_alone(tmp_path, overrides):
    file = tmp_path / "mine.yaml"
    file.write_text(MINE, encoding="utf-8")
    study = load_study(str(file), overrides, check=False)
    seen = 0
    for section, cell, command in cells_of(study):
        fields = (cell.forward, cell.backward.rule, cell.backward.feedback, cell.learning_rate)
        expected = {
            trial.id
            for trial in study.trials
            if (trial.forward, trial.backward, trial.feedback, trial.learning_rate) == fields
            and (trial.model, trial.subset) == (section.settings.model, section.settings.subset)
            and trial.optimiser == section.settings.optimiser
        }
        assert {trial.id for trial in repeated(command).trials} == expected
        assert expected
        seen += len(expected)
    assert seen == len(study.trials)


def test_a_cell_at_a_chosen_rate_is_chosen_again():
    study = load_study("paper/heaviside", check=False)
    for _, cell, command in list(cells_of(study))[:3]:
        again = repeated(command)
        assert again.choose == study.choose
        assert {(trial.forward, trial.backward) for trial in again.trials} == {(cell.forward, cell.backward.rule)}
        assert len({trial.learning_rate for trial in again.trials}) > 1
