"""Study files: what is read, what is refused and on which line, and what overrides change."""

import itertools
import re

import pytest
from hypothesis import given, strategies as st

from tieless.errors import StudyError
from tieless.study.file.reading import parse_study
from tieless.study.file.schema import GridModel, StudyModel
from tieless.study.study import Study

FILE = """\
title: Slopes
question: >
  Which slope
  trains?
table: Table 1
core_hours: 0.5
grid:
  data: digits
  model: mlp
  forward: [relu, logistic]
  backward:
    - tied
    - rectangular(-1, 1)
  batch: 32
  epochs: 2
  seeds: [0, 1]
blocks:
  sgd: {optimiser: sgd, learning_rate: [0.1, 1]}
  adam:
    optimiser: adam
    learning_rate: 1e-3
exclude:
  - {forward: logistic, learning_rate: 0.1}
fallback:
  data: ones
  model: suc
"""


def parse(text=FILE, *overrides, **options):
    return parse_study(text, name="slopes", overrides=overrides, **options)


def refusal(text=FILE, *overrides):
    with pytest.raises(StudyError) as caught:
        parse(text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_read_as_written():
    study = parse()
    assert (study.title, study.question, study.table, study.core_hours) == (
        "Slopes",
        "Which slope trains?",
        "Table 1",
        0.5,
    )
    cells = {
        (trial.forward, trial.backward, trial.optimiser, trial.learning_rate, trial.seed) for trial in study.trials
    }
    rates = [("sgd", 0.1), ("sgd", 1.0), ("adam", 0.001)]
    assert cells == {
        (forward, backward, *rate, seed)
        for forward, backward, rate, seed in itertools.product(
            ["relu", "logistic"], ["tied", "rectangular(-1, 1)"], rates, [0, 1]
        )
        if (forward, rate) != ("logistic", ("sgd", 0.1))
    }
    assert len(study.trials) == len(cells)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs: 2", "  epochs: -3", "slopes.yaml:15: grid.epochs: expected an integer >= 1, got -3"),
        ("  epochs: 2", "  epochs: [1, two]", "slopes.yaml:15: grid.epochs[1]: expected an integer >= 1, got 'two'"),
        ("  epochs: 2", "  epochs: 2.0", "slopes.yaml:15: grid.epochs: expected an integer >= 1, got 2.0"),
        ("  epochs: 2", "  epochs: true", "slopes.yaml:15: grid.epochs: expected an integer >= 1, got true"),
        ("  epochs: 2", "  epochs:", "slopes.yaml:15: grid.epochs: expected an integer >= 1, got null"),
        ("  epochs: 2", "  epochs: {a: 1}", "slopes.yaml:15: grid.epochs: expected an integer >= 1, got {'a': 1}"),
        ("  batch: 32", "  batch: '32'", "slopes.yaml:14: grid.batch: expected an integer >= 1, got '32'"),
        ("  batch: 32", "  batch: [[32]]", "slopes.yaml:14: grid.batch[0]: expected an integer >= 1, got [32]"),
        ("  batch: 32", "  batch: []", "slopes.yaml:14: grid.batch: expected at least one value, got an empty list"),
        ("[0, 1]", "[0, 0]", "slopes.yaml:16: grid.seeds: 0 is given twice"),
        ("[0, 1]", "[-1]", "slopes.yaml:16: grid.seeds[0]: expected an integer >= 0, or a range such as 0..9, got -1"),
        ("  seeds:", "  seed:", "slopes.yaml:16: grid.seed: unknown key; did you mean 'seeds'?"),
        ("  batch: 32", "  bacth: 32", "slopes.yaml:14: grid.bacth: unknown key; did you mean 'batch'?"),
        ("  batch: 32", "  colour: 32", "slopes.yaml:14: grid.colour: unknown key; there are data, subset, augment, model,"),
        ("title: Slopes", "titel: Slopes", "slopes.yaml:1: titel: unknown key; did you mean 'title'?"),
        ("title: Slopes", "title: 3", "slopes.yaml:1: title: expected a line of text, got 3"),
        ("title: Slopes\n", "", "slopes.yaml:1: title: missing; expected a line of text"),
        ("core_hours: 0.5", "core_hours: .inf", "slopes.yaml:6: core_hours: expected hours that the whole grid takes"),
        ("  model: mlp\n", "", "slopes.yaml:17: blocks.sgd: model is missing"),
        ("learning_rate: 1e-3", "learning_rate: 0", "slopes.yaml:21: blocks.adam.learning_rate: expected a finite number > 0, got 0"),
        ("learning_rate: 1e-3", "learning_rate: .nan", "slopes.yaml:21: blocks.adam.learning_rate: expected a finite number > 0, got nan"),
        ("  sgd: {", "  SGD 1: {", "slopes.yaml:18: blocks.SGD 1: expected a name of lower-case letters"),
        ("optimiser: adam", "optimiser: adamm", "slopes.yaml:20: blocks.adam.optimiser: Unknown optimiser 'adamm'. Did you mean 'adam'?"),
        ("- tied", "- tide", "slopes.yaml:12: grid.backward[0]: Unknown rule 'tide'. Did you mean 'tied'?"),
        ("(-1, 1)", "(1, -1)", "slopes.yaml:13: grid.backward[1]: rectangular needs low < high, got low=1, high=-1"),
        ("(-1, 1)", "(-1, hgih=1)", "slopes.yaml:13: grid.backward[1]: Unknown parameter 'hgih' in rectangular(-1, hgih=1). Did you mean 'high'?"),
        ("(-1, 1)", "('a', 1)", "slopes.yaml:13: grid.backward[1]: rectangular: low must be a number, got 'a'"),
        ("[relu, logistic]", "[relu, hard_tanh(1, 2)]", "slopes.yaml:10: grid.forward[1]: Cannot read spec 'hard_tanh(1'"),
        ("[relu, logistic]", "[relu, 5]", "slopes.yaml:10: grid.forward[1]: expected a forward, such as relu, got 5"),
        ("  data: digits", "  data: digit", "slopes.yaml:8: grid.data: Unknown data set 'digit'. Did you mean 'digits'?"),
        ("  model: mlp", "  model: mlp(depht=3)", "slopes.yaml:9: grid.model: Unknown parameter 'depht'"),
        ("{forward: logistic, ", "{forward: linear, ", "slopes.yaml:23: exclude[0]: matches no cell of the grid"),
        ("{forward: logistic, learning_rate: 0.1}", "{}", "slopes.yaml:23: exclude[0]: matches no cell of the grid"),
        ("{forward: logistic, ", "{forwards: logistic, ", "slopes.yaml:23: exclude[0].forwards: unknown key; did you mean 'forward'?"),
        ("  - {forward: logistic, learning_rate: 0.1}", "  - {epochs: 2}", "slopes.yaml: nothing is left to run, exclude drops every cell."),
        ("  data: ones", "  data: fashon-mnist", "slopes.yaml:25: fallback.data: Unknown data set"),
    ],
)  # fmt: skip
def test_refuses_with_the_line_and_the_field(old, new, message):
    assert FILE.count(old) == 1
    assert refusal(FILE.replace(old, new)).startswith(message)


def test_of_several_mistakes_the_first_in_the_file_is_told():
    text = FILE.replace("epochs: 2", "epochs: -3").replace("optimiser: adam", "optimiser: x")
    assert refusal(text).startswith("slopes.yaml:15: ")


def test_an_unquoted_comma_within_brackets_is_explained():
    text = FILE.replace("[relu, logistic]", "[relu, hard_tanh(1, 2)]")
    assert refusal(text).endswith("Within [ ], put a spec that has a comma in quotes")


def test_a_cell_that_cannot_train_is_named_with_the_way_to_drop_it():
    message = refusal(FILE.replace("[relu, logistic]", "[heaviside, logistic]"))
    assert "the cell {forward: heaviside, backward: tied} cannot train" in message
    assert message.endswith("exclude: [{forward: heaviside, backward: tied}]")


def test_a_cell_that_cannot_train_may_be_there_if_it_is_excluded():
    text = FILE.replace("[relu, logistic]", "[heaviside, logistic]").replace(
        "exclude:\n", "exclude:\n  - {forward: heaviside, backward: tied}\n"
    )
    assert all((trial.forward, trial.backward) != ("heaviside", "tied") for trial in parse(text).trials)


def test_checkpoints_are_a_key_of_the_file_and_no_part_of_a_trial():
    study = parse(f"checkpoint: epochs\n{FILE}")
    assert (study.checkpoint, parse().checkpoint) == ("epochs", None)
    assert [trial.id for trial in study.trials] == [trial.id for trial in parse().trials]
    assert parse(study.yaml).checkpoint == "epochs"
    assert Study.from_dict(study.to_dict(), study.trials) == study
    message = refusal(f"checkpoint: steps\n{FILE}")
    assert message.startswith("slopes.yaml:1: checkpoint: expected epochs, or null for none, got 'steps'"), message


def test_an_override_holds_everywhere():
    study = parse(FILE, "epochs=7", "learning_rate=[0.5, 0.25]", "seeds=4")
    assert {trial.epochs for trial in study.trials} == {7}
    assert {(trial.optimiser, trial.learning_rate) for trial in study.trials} == set(
        itertools.product(["sgd", "adam"], [0.5, 0.25])
    )
    assert {trial.seed for trial in study.trials} == {4}


def test_an_override_of_a_block_holds_there():
    rates = {(trial.optimiser, trial.learning_rate) for trial in parse(FILE, "adam.learning_rate=[0.5]").trials}
    assert rates == {("sgd", 0.1), ("sgd", 1.0), ("adam", 0.5)}


def test_an_override_of_a_block_is_stronger_than_one_of_all():
    study = parse(FILE, "adam.epochs=9", "epochs=1")
    assert {(trial.optimiser, trial.epochs) for trial in study.trials} == {("sgd", 1), ("adam", 9)}


@pytest.mark.parametrize("text", ["blocks=adam", "blocks=[adam]"])
def test_blocks_can_be_picked(text):
    assert {trial.optimiser for trial in parse(FILE, text).trials} == {"adam"}


def test_an_exclude_may_match_nothing_once_overridden():
    assert {trial.forward for trial in parse(FILE, "forward=relu").trials} == {"relu"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "--set epochs: expected key=value, such as epochs=1."),
        ("=1", "--set =1: expected key=value, such as epochs=1."),
        ("epochs=-3", "--set epochs=-3: epochs: expected an integer >= 1, got -3"),
        ("epochs=", "--set epochs=: epochs: expected an integer >= 1, got null"),
        ("epochs=[1", "--set epochs=[1: expected ',' or ']'"),
        ("epoch=1", "--set epoch=1: epoch: unknown key; did you mean 'epochs'?"),
        ("title=x", "--set title=x: title: unknown key; there are data,"),
        ("adm.epochs=1", "--set adm.epochs=1: unknown block 'adm'; there are sgd, adam."),
        ("adam.epoch=1", "--set adam.epoch=1: epoch: unknown key; did you mean 'epochs'?"),
        ("adam.=1", "--set adam.=1: unknown key; there are data,"),
        ("blocks=[adm]", "--set blocks=[adm]: unknown block 'adm'; there are sgd, adam."),
        ("blocks=[[adam]]", "--set blocks=[[adam]]: unknown block ['adam']; there are sgd, adam."),
        ("blocks=[]", "--set blocks=[]: expected at least one block; there are sgd, adam."),
        ("backward=rectangular(1, -1)", "--set backward=rectangular(1, -1): backward: rectangular needs low < high"),
    ],
)
def test_refuses_an_override_and_says_which(override, message):
    assert refusal(FILE, override).startswith(message)


def test_refuses_to_set_a_key_twice():
    assert refusal(FILE, "epochs=1", "epochs=2") == "--set epochs=2: epochs is set twice."


def test_blocks_of_a_study_without_any_are_refused():
    text = FILE[: FILE.index("blocks:")] + "  optimiser: sgd\n  learning_rate: 1\n"
    text = text.replace("  seeds: [0, 1]\n  optimiser", "  seeds: [0, 1]\n  optimiser")
    assert refusal(text, "blocks=[a]") == "--set blocks=[a]: unknown block 'a'; this study has none."


NUMBERS = {"batch": st.integers(1, 9), "epochs": st.integers(1, 9), "seeds": st.integers(0, 9)}


@given(
    st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.data(), min_size=1).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: st.lists(NUMBERS[name], min_size=1, max_size=3, unique=True) for name in chosen}
        )
    )
)
def test_whatever_is_set_is_what_the_trials_have(axes):
    study = parse(FILE, *(f"{name}={values}" for name, values in axes.items()))
    for name, values in axes.items():
        field = "seed" if name == "seeds" else name
        assert {getattr(trial, field) for trial in study.trials} == set(values)


OVERRIDES = st.lists(
    st.sampled_from(["epochs=[3, 1]", "blocks=[adam]", "adam.batch=8", "forward=relu", "seeds=[5]", "subset=null"]),
    unique=True,
)


@given(OVERRIDES, st.sampled_from([None, "there is none"]))
def test_the_yaml_of_a_study_gives_the_same_trials_again(overrides, fallback):
    study = parse(FILE.replace("model: suc", "model: mlp(8)"), *overrides, fallback=fallback)
    again = parse_study(study.yaml, name="again")
    assert again.trials == study.trials
    assert (again.title, again.question, again.table) == (study.title, study.question, study.table)


def test_the_fallback_replaces_what_it_names_and_is_told():
    study = parse(FILE, "epochs=1", fallback="no such data")
    assert {(trial.data, trial.model, trial.epochs) for trial in study.trials} == {("ones(10, 0.5, 2000)", "suc", 1)}
    assert study.fallback == "no such data"


def test_an_override_is_stronger_than_the_fallback():
    assert {trial.model for trial in parse(FILE, "model=mlp(3)", fallback="x").trials} == {"mlp(3, 2)"}


def test_a_study_is_the_same_after_json():
    study = parse(FILE, "epochs=1", fallback="no data")
    assert Study.from_dict(study.to_dict(), study.trials) == study


def test_the_command_names_the_file_and_every_override():
    study = parse_study(FILE, name="slopes", file="my dir/slopes.yaml", overrides=["seeds=[0, 1]"])
    assert study.command == "tieless study run 'my dir/slopes.yaml' '--set=seeds=[0, 1]'"


def test_every_field_says_what_it_expects():
    # The sentence of an error is the description of its field.
    for model in (GridModel, StudyModel):
        assert all(field.description for field in model.model_fields.values())


def test_a_claim_of_which_overrides_take_a_part_away_is_not_asked():
    claims = ["rectangular(-1, 1) is superior to tied for relu and logistic", "rectangular(-1, 1) is superior to tied"]
    text = f"{FILE}claims:\n" + "".join(f"  - {claim} under adam\n" for claim in claims)
    assert len(parse(text).claims) == 2
    (left,) = parse(text, "forward=relu").claims
    assert str(left) == "rectangular(-1, 1) is superior to tied by 1 point under adam"
    assert parse(text, "blocks=[sgd]").claims == ()


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ("full_jam is superior to tied", r"claims[0]: The claim .* matches nothing in this study: no run has the rule"),
        ("tied is superiour to tied", r"claims[0].says: Cannot read the claim .* got 'superiour'"),
        ("{says: tied is superior to frozen, lable: x}", r"claims[0].lable: unknown key; did you mean 'label'"),
        ("rectangular(-1, 1) is superior to tied for tanh", "no run has the forward tanh; there are relu, logistic"),
        ("3", r"claims[0]: expected a list of sentences"),
    ],
)
def test_a_claim_that_cannot_be_asked_is_told_with_its_line(claim, problem):
    message = refusal(f"{FILE}claims:\n  - {claim}\n")
    assert message.startswith("slopes.yaml:28: ")
    assert re.search(problem.replace("[0]", r"\[0\]"), message), message
