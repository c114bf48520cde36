"""``tieless export``: files of a packed network, and one line for what cannot be exported."""

import sys

import numpy as np
import onnxruntime
import pytest
import tieless_runtime
from click.testing import CliRunner
from tieless_runtime import Network
from tieless_runtime.operations import Linear, Quantise
from tieless_runtime.weights import Weight

from tieless.cli import main
from tieless.deploy import to_c


@pytest.fixture
def path(tmp_path):
    quantise = Quantise(name="", inputs=("input",), output="q", scale=1.0, low=0, high=255)
    weight = Weight("binary", np.int8([[1, -1, 1]]))
    linear = Linear(name="head", inputs=("q",), output="s", weight=weight, bias=None)
    path = tmp_path / "my net.safetensors"
    tieless_runtime.write(Network((3,), (quantise, linear), "s"), path)
    return path


def invoke(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_it_writes_what_the_library_makes(path, tmp_path):
    result = invoke(path, "--to", "c", "--out", tmp_path / "out", "--pixel", 0.5, 1)
    assert result.exit_code == 0
    program = to_c(tieless_runtime.read(path), "my_net", pixel=(0.5, 1))
    assert (tmp_path / "out" / "my_net.c").read_text() == program.source
    assert (tmp_path / "out" / "my_net.h").read_text() == program.header
    assert f"{program.tables} bytes of tables, {program.scratch} bytes of scratch" in result.output


def test_the_name_can_be_chosen(path, tmp_path):
    assert invoke(path, "--to", "c", "--out", tmp_path, "--name", "digits").exit_code == 0
    assert "void digits_run(" in (tmp_path / "digits.h").read_text()


def test_it_writes_onnx(path, tmp_path):
    result = invoke(path, "--to", "onnx", "--out", tmp_path / "out")
    assert result.exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "my_net.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": np.float32([[1, 2, 4]])})
    assert scores.tolist() == [[3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "c", "--name", "a b"), "letters, digits and underscores"),
        (("--to", "fortran"), "'fortran' is not"),
        (("--to", "onnx", "--pixel", "1", "0"), "--pixel is for C"),
        (("--to", "c", "--pixel", "nan", "0"), "with a FACTOR other than 0; got (nan, 0.0)"),
        (("--to", "c", "--pixel", "1", "inf"), "numbers that float32 holds"),
        (("--to", "c", "--pixel", "1e37", "3e38"), "got (1e+37, 3e+38)"),
        (("--to", "c", "--pixel", "0", "1"), "a FACTOR other than 0"),
        (("--to", "onnx", "--name", "../up"), "without its folder, which is --out; got '../up'"),
        ((), "Missing option '--to'"),
    ],
)
def test_a_mistake_is_one_line(path, tmp_path, arguments, message):
    result = invoke(path, "--out", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def test_a_byte_may_stand_for_a_large_number(path, tmp_path):
    result = invoke(path, "--to", "c", "--out", tmp_path, "--pixel", "1e36", "0")
    assert result.exit_code == 0, result.output


def test_a_file_that_is_none_is_one_line(tmp_path):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"x" * 50)
    for path, message in ((wrong, "is no packed network"), (tmp_path / "missing", "No such file")):
        result = invoke(path, "--to", "c", "--out", tmp_path)
        assert result.exit_code == 2
        assert message in result.output
        assert result.output.count("\n") == 1


def test_without_the_extra_one_line_says_what_to_install(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tieless_runtime", None)
    result = invoke(path, "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "pip install ./runtime '.[deploy]' in a clone" in result.output
