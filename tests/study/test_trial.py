"""Trials are values: one spelling, one id, and JSON that gives them back."""

import dataclasses
import json
import math
import pickle

import pytest
from hypothesis import given, strategies as st

from tests.alone import run_alone
from tests.study.fakes import make_result, make_trial
from tieless.errors import TielessError
from tieless.study import trial as module
from tieless.study.trial import EpochRecord, Result, Trial


@pytest.mark.parametrize(
    ("field", "spellings"),
    [
        ("backward", ["rectangular(-1,1)", "rectangular(-1.0, 1.0)", "rectangular(low=-1, high=1)"]),
        ("backward", ["rectangular( -0.5,0.5 )", "rectangular"]),
        ("backward", ["full_jam >> clip(1.0)", "full_jam()>>clip(value=1)"]),
        ("backward", ['positive_jam(gate="feedback")', "positive_jam('feedback')"]),
        ("forward", ["leaky_relu(0.1)", "leaky_relu(negative_slope=1e-1)"]),
        ("data", ["ones", "ones(10, tau=0.5)", "ones(d=10)"]),
        ("model", ["mlp(width=64, depth=2)", "mlp", "mlp(64)"]),
        ("learning_rate", [1, 1.0]),
        ("weights", ["binary", 'binary(scale="none")', 'binary(backward="rectangular(low=-1, high=1)")']),
        ("weights", ["k_bit(4)", 'k_bit(bits=4, scale="mean")']),
        ("feedback", ["usf", 'usf(scale="glorot")', "usf(gain=1.0)"]),
        ("feedback", ["fa(gain=2)", 'fa("glorot", 2.0)']),
        ("schedule", ["cosine", "cosine(warmup=0)", "cosine(0.0)"]),
        ("augment", ["flip", "none >> flip", "flip() >> none"]),
        ("optimiser", ["bop", "bop(1e-8, gamma=0.0001)"]),
        ("optimiser", ["direction_first", "direction_first(momentum=0.9)"]),
        ("optimiser", ["lars", "lars(trust=0.001)", "lars(momentum=0.9)"]),
    ],
    ids=str,
)
def test_spellings_of_one_thing_make_one_trial(field, spellings):
    trials = [make_trial(**{field: spelling}) for spelling in spellings]
    assert len(set(trials)) == 1
    assert len({trial.id for trial in trials}) == 1


def test_an_id_names_every_field_and_the_meaning(monkeypatch):
    base = make_trial()
    others = {
        "data": "digits",
        "subset": 5,
        "model": "mlp",
        "forward": "relu",
        "backward": "constant",
        "loss": "mse",
        "optimiser": "adam",
        "learning_rate": 0.2,
        "batch": 33,
        "epochs": 3,
        "seed": 1,
        "device": "cuda",
        "init": "gain_matched",
        "weights": "binary",
        "feedback": "fa",
        "schedule": "cosine",
        "augment": "flip",
        "monitor": 50,
        "validation": 0.1,
        "test": "once",
        "denormals": "flushed",
        "sources": "mynet 1a2b3c4d5e6f7a8b",
        "metric": "macro_f1",
        "compile": "inductor",
    }
    assert set(others) == {field.name for field in dataclasses.fields(Trial)}
    ids = {make_trial(**{name: value}).id for name, value in others.items()} | {base.id}
    assert len(ids) == len(others) + 1
    before = base.id
    monkeypatch.setattr(module, "MEANING", module.MEANING + 1)
    assert make_trial().id != before


def test_the_id_stays_what_it_was():
    # Every store in the world is keyed by it: if this fails, raise MEANING on purpose or undo the change.
    assert make_trial().id == "398e1dfca840df11"


def test_fields_that_came_later_are_read_as_what_was_done_before_them():
    record = make_trial().to_dict()
    for name in ("weights", "init", "feedback", "schedule", "augment", "monitor", "denormals", "compile"):
        del record[name]
    assert Trial.from_dict(record) == make_trial()
    assert Trial.from_dict(record).id == "398e1dfca840df11"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backward", "rectangular(1, -1)"),
        ("backward", "rectangulr"),
        ("forward", "rely"),
        ("model", "lenet"),
        ("data", "fashion"),
        ("loss", "l2"),
        ("denormals", "dropped"),
        ("compile", "nvcc"),
        ("optimiser", "adamm"),
        ("optimiser", "adam(weight_decay=-1)"),
        ("optimiser", "bop(gamma=0)"),
        ("optimiser", "direction_first(momentum=1)"),
        ("optimiser", "lars(trust=0)"),
        ("optimiser", "sign_sgd(momentum=-1)"),
        ("optimiser", "lion(weight_decay=-1)"),
        ("schedule", "cosine(warmup=1)"),
        ("schedule", "step"),
        ("weights", "k_bit(9)"),
        ("init", "normal(gain=0)"),
        ("init", "gain_matched(keeps='back')"),
        ("weights", "binary(scale='max')"),
        ("weights", "ternary(threshold=-1)"),
        ("feedback", "fb"),
        ("feedback", "dfa(gain=0)"),
        ("augment", "shift(0)"),
        ("augment", "turn"),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "0.1"),
        ("learning_rate", True),
        ("batch", 0),
        ("batch", 1.0),
        ("epochs", -3),
        ("epochs", True),
        ("seed", -1),
        ("subset", 0),
        ("device", "gpu"),
    ],
)
def test_a_trial_that_could_not_be_run_cannot_be_made(field, value):
    with pytest.raises(TielessError):
        make_trial(**{field: value})


def test_a_stored_trial_is_read_though_its_rule_is_not_registered_any_more():
    record = {**make_trial().to_dict(), "backward": "mine(3)"}
    assert Trial.from_dict(record).backward == "mine(3)"


NUMBERS = st.floats(allow_nan=False) | st.sampled_from([math.inf, -math.inf])


@given(
    st.sampled_from(["done", "diverged", "failed"]),
    st.lists(st.builds(EpochRecord, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=3),
    st.none() | st.integers(0, 10),
    st.none() | st.text(),
    st.dictionaries(st.text(), st.text(), max_size=2),
)
def test_a_result_is_the_same_after_json(status, epochs, predicted, error, versions):
    result = Result(
        trial=make_trial(),
        status=status,
        epochs=tuple(epochs),
        predicted_classes=predicted,
        classes=10,
        error=error,
        seconds=1.5,
        started="2025-01-01T00:00:00+00:00",
        versions=versions,
        hardware={},
    )
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_result_that_an_earlier_version_stored_has_no_number_of_test_samples():
    record = make_result(make_trial()).to_dict()
    assert Result.from_dict({**record, "test_samples": 400}).test_samples == 400
    del record["test_samples"], record["alignments"]
    assert Result.from_dict(record) == make_result(make_trial())


def test_a_result_of_the_fake_is_whole():
    assert make_result(make_trial(epochs=3)).epochs[2].test_accuracy <= 1


def test_a_trial_that_comes_from_another_process_is_found_among_equal_ones():
    trial = make_trial()
    assert {trial: 1}[pickle.loads(pickle.dumps(trial))] == 1
    program = f"""
import pickle
from tieless.study import Trial
trial = pickle.loads({pickle.dumps(trial)!r})
print(trial in {{Trial.from_dict(trial.to_dict())}})
"""
    for seed in ("1", "2"):
        assert run_alone(program, environment={"PYTHONHASHSEED": seed}) == "True\n"
