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
    assert sorted(main.commands) == ["data", "diagnose", "doctor", "explain", "export", "forwards", "rules", "study"]
    assert sorted(main.commands["study"].commands) == [
        *("ask", "backup", "export", "list", "merge", "plan", "plot", "report", "run", "status", "watch", "workers")
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["foo"], "Error: No such command 'foo'."),
        (["--foo"], "Error: No such option"),
        (["study", "run"], "Error: Missing argument 'NAME_OR_FILE'."),
        (["study", "export", "x"], "Error: Missing option '--format'. Choose from: csv, json, parquet, tensorboard"),
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


# The core, which takes long to import and needs none of these packages, is there before the process forks.
IMPORTS = """
import json, os, sys, tempfile, tieless

found = []
for module, package in {pairs}:
    with tempfile.TemporaryFile("w+") as said:
        if not (child := os.fork()):
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            if package:
                sys.modules[package] = None
            __import__(module)
            print(*sorted({{"jinja2", "matplotlib", "numba", "pyarrow", "scipy"}} & set(sys.modules)))
            sys.exit()
        _, status = os.waitpid(child, 0)
        said.seek(0)
        found.append([os.waitstatus_to_exitcode(status), said.read()])
print(json.dumps(found))
"""


def test_without_the_extra_help_says_what_there_is_and_how_to_get_it():
    program = "import sys; sys.modules['click'] = None; sys.argv[1:] = ['--help']; import tieless.cli"
    said = run_alone(program)
    assert said.startswith("Usage: tieless COMMAND")
    assert said.endswith("This needs click, which is not installed: pip install '.[study]' in a clone of tieless.\n")


def test_without_the_extra_command_and_studies_say_so_and_with_it_they_load_what_they_use():
    of_command = [("tieless.cli", package) for package in ("click", "rich", "yaml", "pydantic", "filelock")]
    of_studies = [("tieless.study", package) for package in ("yaml", "pydantic", "filelock")]
    whole = ("tieless.report", None)  # which imports studies
    pairs = [*of_command, *of_studies, whole]
    found = dict(zip(pairs, json.loads(run_alone(IMPORTS.format(pairs=pairs))), strict=True))
    for module, package in of_command + of_studies:
        code, said = found[module, package]
        line = f"This needs {package}, which is not installed: pip install '.[study]' in a clone of tieless.\n"
        if module == "tieless.cli":
            assert (code, said) == (2, f"Error: {line}")
        else:
            assert code == 1
            assert said.endswith(f"MissingExtraError: {line}")
    assert found[whole] == [0, "\n"]
