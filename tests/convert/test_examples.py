"""The examples do what they say: models that are converted learn in Trainer and in Lightning, and the table is printed."""

import importlib.util
import runpy
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(name, *packages, **arguments):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what those libraries warn of is their own affair
        return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](**arguments)


def test_a_converted_model_learns_in_trainer(capsys):
    assert run("convert_trainer", "transformers", "accelerate") > 0.9  # half of the labels are 1
    assert "gelu        1       1          0" in capsys.readouterr().out


def test_a_converted_model_learns_in_lightning(capsys):
    assert run("convert_lightning", "pytorch_lightning") > 0.85  # of the labels, two thirds are 1
    assert "silu        1       1          0" in capsys.readouterr().out


def test_the_table_of_known_models_is_the_one_in_the_docs(capsys):
    run("convert_known_models", "transformers")
    assert capsys.readouterr().out in (ROOT / "docs" / "convert.md").read_text(encoding="utf-8")
