"""The command as a whole: one line for what goes wrong, and an exit code that says how it ended."""

import importlib.metadata
import json

import click
import pytest
from click.testing import CliRunner

from tests.alone import run_alone
from tieless.cli import main
from tieless.cli.app import OneLineGroup
from tieless.errors import StudyError


def invoke(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_the_version_is_that_of_the_package():
    result = invoke("--version")
    assert result.output.split()[-1] == importlib.metadata.version("tieless")


@pytest.mark.parametrize(
    "arguments",
    [[], ["study"], ["study", "run"], ["study", "export"], ["data"], ["rules"], ["diagnose"], ["doctor"], ["explain"]],
    ids=" ".join,
)
def test_every_command_has_help(arguments):
    for option in ("-h", "--help"):
        result = invoke(*arguments, option)
        assert result.exit_code == 0
        assert result.output.startswith("Usage: ")


def test_the_commands_are_these():
    assert sorted(main.commands) == ["data", "diagnose", "doctor", "explain", "forwards", "rules", "study"]
    assert sorted(main.commands["study"].commands) == ["ask", "backup", "export", "list", "report", "run", "status"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["foo"], "Error: No such command 'foo'."),
        (["--foo"], "Error: No such option"),
        (["study", "run"], "Error: Missing argument 'NAME_OR_FILE'."),
        (["study", "export", "x"], "Error: Missing option '--format'. Choose from: csv, parquet, json"),
    ],
    ids=str,
)
def test_a_usage_error_is_one_line_on_stderr_and_code_2(arguments, line):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def failing(error):
    @click.group(cls=OneLineGroup)
    def group():
        pass

    @group.command()
    def fail():
        raise error

    return group


def test_what_tieless_refuses_is_one_line_and_code_2():
    result = CliRunner().invoke(failing(StudyError("not so.")), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: not so.\n")


def test_ctrl_c_is_code_130():
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr.strip()) == (130, "Interrupted.")


def test_a_mistake_of_ours_is_not_hidden():
    result = CliRunner().invoke(failing(ZeroDivisionError("ours")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_within_another_program_errors_stay_exceptions():
    with pytest.raises(StudyError):
        failing(StudyError("not so.")).main(["fail"], standalone_mode=False)


# Torch, which takes long to import and is not what is asked about, is there before the process forks.
IMPORTS = """
import json, os, sys, tempfile, torch

found = {{}}
for package in {packages}:
    with tempfile.TemporaryFile("w+") as said:
        if not (child := os.fork()):
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.modules[package] = None
            import {module}
            sys.exit()
        _, status = os.waitpid(child, 0)
        said.seek(0)
        found[package] = os.waitstatus_to_exitcode(status), said.read()
print(json.dumps(found))
"""


def imported_without(packages, module):
    """Endings and messages of the import of a module, for each package that is missing."""
    return json.loads(run_alone(IMPORTS.format(packages=packages, module=module)))


def test_without_the_extra_the_command_says_so_in_one_line():
    found = imported_without(["click", "rich", "yaml", "pydantic", "filelock"], "tieless.cli")
    assert found == {
        package: [2, f"Error: This needs {package}, which is not installed: pip install 'tieless[study]'.\n"]
        for package in found
    }


def test_without_the_extra_studies_cannot_be_imported_and_say_so():
    for package, (code, said) in imported_without(["yaml", "pydantic", "filelock"], "tieless.study").items():
        assert code == 1
        assert said.endswith(
            f"MissingExtraError: This needs {package}, which is not installed: pip install 'tieless[study]'.\n"
        )
