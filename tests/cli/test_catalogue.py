"""The lists of rules and forwards: each name, as it is written, with what it does."""

import re

import pytest
from click.testing import CliRunner

import tieless
from tieless.cli import main


@pytest.mark.parametrize(("command", "catalogue"), [("rules", tieless.rules()), ("forwards", tieless.forwards())])
def test_every_name_is_listed_with_its_spec_and_summary(command, catalogue):
    result = CliRunner().invoke(main, [command], env={"COLUMNS": "400"})
    assert result.exit_code == 0
    header, *lines = result.output.splitlines()
    assert header.split() == ["name", "spec", "what", "it", "does"]
    assert [line.split()[0] for line in lines] == list(catalogue)
    for line, cls in zip(lines, catalogue.values(), strict=True):
        assert line.rstrip().endswith((cls.__doc__ or "").split("\n")[0])


def test_a_spec_that_is_listed_can_be_used():
    output = CliRunner().invoke(main, ["rules"], env={"COLUMNS": "400"}).output
    specs = re.findall(r"^\S+ +(\w+\(.*?\)) {2,}", output, re.MULTILINE)
    assert "rectangular(low=-0.5, high=0.5)" in specs
    complete = [spec for spec in specs if not re.search(r"[(,] ?\w+[,)]", spec)]
    assert len(complete) >= 5
    for spec in complete:
        assert tieless.rule(spec)


def test_brackets_in_a_docstring_are_not_taken_for_markup():
    output = CliRunner().invoke(main, ["forwards"], env={"COLUMNS": "400"}).output
    for cls in tieless.forwards().values():
        assert (cls.__doc__ or "").split("\n")[0] in output
