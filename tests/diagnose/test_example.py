"""The experiment of docs/theory.md prints its table."""

import runpy
import sys
from pathlib import Path

import torch


def test_the_alignment_of_lenet5_is_printed(monkeypatch, capsys):
    program = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "lenet5_alignment.py"))
    names = program["main"].__globals__
    some = "few images", torch.rand(256, 1, 28, 28), torch.randint(0, 10, (256,))
    monkeypatch.setitem(names, "images", lambda: some)
    monkeypatch.setitem(names, "CASES", [("linear", "constant"), ("heaviside", "rectangular")])
    monkeypatch.setitem(names, "BATCHES", 2)
    monkeypatch.setattr(sys, "argv", ["lenet5_alignment.py", "--steps", "1"])
    monkeypatch.setenv("COLUMNS", "160")
    program["main"]()
    printed = capsys.readouterr().out
    assert "few images" in printed
    assert printed.count(" 1.00 +- 0.00") == 10  # linear and constant are tied, before and after
    assert "heaviside, rectangular" in printed
