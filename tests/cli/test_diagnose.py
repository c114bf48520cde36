"""``tieless diagnose``: what the library finds, of a model that ships."""

import pytest
import torch
from click.testing import CliRunner

import tieless
from tieless.cli import main
from tieless.data import load
from tieless.models import build_model


def invoke(*arguments):
    return CliRunner().invoke(main, ["diagnose", *arguments])


def test_it_prints_what_the_library_finds_and_a_cure():
    result = invoke("mlp(32, 3)", "--forward", "heaviside", "--backward", "rectangular(-1e-4, 1e-4)", "--batch", "100")
    assert result.exit_code == 0
    data = load("digits", seed=0)
    torch.manual_seed(0)
    network = build_model("mlp(32, 3)", "heaviside", "rectangular(-1e-4, 1e-4)", features=64, classes=10)
    found = tieless.checkup(network, (data.train_x[:100], data.train_y[:100]))
    assert result.output == f"{found}\nRandom weights; 100 samples of digits.\n"
    assert found.rules
    assert all(f"try {spec}" in result.output for spec in found.rules.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mpl"], "Did you mean 'mlp'?"),
        (["mlp(32, 3)", "--backward", "rectangle"], "Did you mean 'rectangular'?"),
        (["mlp(32, 3)", "--data", "digit"], "Did you mean 'digits'?"),
        (["mlp(32, 3)", "--batch", "1"], "1 is not in the range x>=2"),
    ],
)
def test_a_mistake_is_one_line(arguments, words):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1
