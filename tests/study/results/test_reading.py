"""Records as the quick reader reads them: as the standard library's parser and ``from_dict`` do, or told as damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tests.study.fakes import make_result, make_study
from tieless.study.results.reading import Reader
from tieless.study.trial import Result

COMPACT = {"separators": (",", ":")}


@pytest.fixture
def study():
    return make_study("seeds=[0, 1, 12]")


@pytest.fixture
def results(study):
    return [make_result(trial) for trial in study.trials]


def plainly(text: str, name: str) -> Result:
    return Result.from_dict(json.loads(text), known_id=name)


@pytest.mark.parametrize("form", [{}, COMPACT, {"indent": 1}, {"sort_keys": True}, {"ensure_ascii": False}], ids=str)
def test_a_record_is_read_as_the_standard_library_reads_it(results, form):
    reader = Reader()
    for result in results:
        text = json.dumps(replace(result, error='"seed": 7, \\"seed\\": 8, "é"').to_dict(), **form)
        found = reader.result(result.trial.id, text)
        assert found == plainly(text, result.trial.id)
        assert (found.trial.id, hash(found.trial)) == (result.trial.id, hash(result.trial))


@pytest.mark.parametrize("form", [{}, COMPACT], ids=str)
def test_a_trial_is_read_as_it_was_written(study, form):
    reader = Reader()
    found = [reader.trial(trial.id, json.dumps(trial.to_dict(), **form)) for trial in study.trials]
    assert found == list(study.trials)
    assert [trial.id for trial in found] == [trial.id for trial in study.trials]


def test_numbers_that_are_no_json_and_halves_of_pairs_are_read(results):
    first = results[0]
    strange = replace(
        first, epochs=(replace(first.epochs[0], train_accuracy=math.nan, train_loss=math.inf),), error="\ud800"
    )
    found = Reader().result(first.trial.id, json.dumps(strange.to_dict()))
    assert math.isnan(found.epochs[0].train_accuracy)
    assert (found.epochs[0].train_loss, found.error, found.trial) == (math.inf, "\ud800", first.trial)


def test_a_record_of_an_earlier_version_is_read(results):
    record = results[0].to_dict()
    del record["alignments"], record["test_samples"]
    record["trial"] = {
        name: value for name, value in record["trial"].items() if name not in {"init", "metric", "compile"}
    }
    text = json.dumps(record)
    assert Reader().result(results[0].trial.id, text) == plainly(text, results[0].trial.id)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[:-1], "JSONDecodeError"),
        (lambda text: "[]", "TypeError"),
        (lambda text: text.replace('"model"', '"modem"'), "KeyError: 'model'"),
        (lambda text: text.replace('"epochs": [', '"epochs": 3, "x": ['), "TypeError"),
        (lambda text: text.replace('"test_loss"', '"tesu_loss"'), "TypeError"),
        (lambda text: text.replace('"validation_loss"', '"validatiom_loss"'), "TypeError"),
        (lambda text: text.replace('"seed": ', '"sees": '), "KeyError: 'seed'"),
    ],
    ids=["cut", "a list", "field", "epochs", "figure", "figure that may be left out", "seed"],
)
def test_damage_is_told(results, spoil, told):
    reader, first = Reader(), results[0]
    text = json.dumps(first.to_dict())
    assert isinstance(reader.result(first.trial.id, text), Result)
    found = reader.result(first.trial.id, spoil(text))
    assert isinstance(found, str)
    assert told in found
