"""``tieless explain``: what the library finds, of a model that ships, on samples that it names."""

import re

import pytest
import torch
from click.testing import CliRunner

import tieless
from tieless.cli import main
from tieless.data import load
from tieless.diagnose.explaining.printed import cells
from tieless.models import build_model


def invoke(*arguments, **environment):
    return CliRunner().invoke(main, ["explain", *arguments], env=environment)


def rows_of(output):
    """The lines of the table as cells, which stand two blanks or more apart."""
    table = output.split("\n\n")[0].splitlines()
    return [re.split(r" {2,}", line.rstrip()) for line in table]


@pytest.mark.parametrize(
    ("model", "data", "batch", "shape"),
    [
        ("mlp(32, 2)", "digits", 100, (64,)),
        ("bnn_mlp(16, 1)", "ones(d=10)", 7, (10,)),
        ("suc", "ones(d=10)", 64, (10,)),
    ],
)
def test_it_shows_what_the_library_finds(model, data, batch, shape):
    result = invoke(model, "--forward", "heaviside", "--backward", "rectangular", "--data", data, "--batch", str(batch))
    assert result.exit_code == 0
    samples = load(data, seed=0)
    torch.manual_seed(0)
    network = build_model(model, "heaviside", "rectangular", features=shape[0], classes=samples.classes)
    found = tieless.explain(network, samples.train_x[:batch])
    header, *rows = rows_of(result.output)
    assert header == ["activation", "forward", "backward rule", "gate", "bits", "kept", "own", "fired"]
    assert rows == [cells(activation) for activation in found.activations]
    elements = found.activations[0].run.elements
    assert rows[0][5] == f"{-(-elements // 8)} B"  # one bit each
    assert f"{batch} samples of {samples.name}." in result.output


def test_without_data_bytes_are_left_out_and_it_says_how_to_get_them():
    result = invoke("lenet5")
    assert result.exit_code == 0
    header, *rows = rows_of(result.output)
    assert header == ["activation", "forward", "backward rule", "gate", "bits"]
    assert rows == [[name, "relu", "tied", "z > 0", "1"] for name in ("1", "4", "8", "10")]
    assert "--data NAME, one of brown, digits, fashion-mnist, japanese-vowels, mnist1d, ones." in result.output


@pytest.mark.parametrize("model", ["suc", "mlp", "bnn_mlp", "lenet5", "bnn_lenet5"])
def test_every_model_that_ships_is_explained_without_data(model):
    assert invoke(model, "--forward", "sign", "--backward", "triangular").exit_code == 0


def test_a_batch_is_no_larger_than_the_data():
    assert "1437 samples of digits." in invoke("mlp(8, 1)", "--data", "digits", "--batch", "9999").output


def test_the_same_command_shows_the_same_table_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    once, again = (invoke("mlp", "--backward", "positive_jam", "--data", "digits").output for _ in range(2))
    assert once == again
    assert torch.equal(torch.get_rng_state(), before)


def test_in_a_terminal_it_is_a_table_in_colour():
    result = invoke("mlp", "--backward", "rectangular_jam", FORCE_COLOR="1", COLUMNS="200", TERM="xterm")
    plain = re.sub(r"\x1b\[[\d;]*m", "", result.output)
    assert plain != result.output
    assert rows_of(plain) == rows_of(invoke("mlp", "--backward", "rectangular_jam").output)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lenet"], "Unknown model 'lenet'. Did you mean 'lenet5'?"),
        (["mlp", "--forward", "rellu"], "Unknown forward 'rellu'. Did you mean 'relu'?"),
        (["mlp", "--backward", "rectangular(1, -1)"], "rectangular needs low < high"),
        (["mlp", "--forward", "sign"], "sign is flat almost everywhere"),
        (["mlp", "--data", "mnist"], "Unknown data set 'mnist'."),
        (["suc", "--data", "digits"], "suc needs 2 classes (the data has 10)"),
        (["lenet5", "--data", "digits"], "lenet5 needs images of 28 x 28"),
        (["mlp", "--batch", "8"], "--batch needs samples to take"),
        (["mlp", "--data", "digits", "--batch", "0"], "Invalid value for '--batch'"),
        ([], "Missing argument 'MODEL'."),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_code_2(arguments, says):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
