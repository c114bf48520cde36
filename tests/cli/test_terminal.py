"""Output comes out whatever the encoding, with its meaning, and moves no cursor."""

import json
import re
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.text import Text

from tests.study import fakes
from tieless.cli import main, terminal
from tieless.cli.app import OneLineGroup
from tieless.cli.study import running as commands
from tieless.errors import StudyError
from tieless.report.words import MINUS
from tieless.study import Store, export_table
from tieless.study.running import runner
from tieless.study.running.runner import run

ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
NASTY = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\x9b31m <script>alert(1)</script>"


@pytest.fixture
def folder(tmp_path):
    """A study with a claim that holds, one that does not, and one rule whose runs diverged."""
    study = fakes.claiming("seeds=[0,1,2,3,4]")
    with Store.create(tmp_path, study) as store:
        for trial in study.trials:
            lost = trial.backward == "full_jam"
            store.add(replace(fakes.noisy(trial), status="diverged", epochs=()) if lost else fakes.noisy(trial))
    return tmp_path


def invoke(*arguments, encoding="utf-8"):
    result = CliRunner(charset=encoding).invoke(main, [str(part) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout_bytes.decode(encoding)


@ENCODINGS
@pytest.mark.parametrize(
    "command",
    [
        ["study", "report", "."],
        ["study", "status", "."],
        ["study", "ask", ".", "full_jam is inferior to tied by 1 point"],
        ["rules"],
        ["rules", "sign"],
        ["forwards"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_prints_in_every_encoding(folder, encoding, command):
    code, text = invoke(*command, encoding=encoding)
    assert code == 0
    _, whole = invoke(*command)
    assert len(text.splitlines()) == len(whole.splitlines())
    # Digit for digit, with their signs.
    numbers = r"[-+]?\d+\.\d+"
    assert re.findall(numbers, text.replace(MINUS, "-").replace("+/-", " ").replace("\xb1", " ")) == re.findall(
        numbers, whole.replace(MINUS, "-").replace("\xb1", " ")
    )


@ENCODINGS
def test_the_page_is_written_and_a_loss_keeps_its_sign(folder, encoding):
    code, text = invoke("study", "report", folder, encoding=encoding)
    assert code == 0
    assert (folder / "report.html").is_file()
    asked = re.search(
        r"(\S)\d\d\.\d\d \(", invoke("study", "ask", folder, "full_jam is inferior to tied", encoding=encoding)[1]
    )
    assert asked[1] in {"-", MINUS}
    assert "5/5 diverged" in text


@ENCODINGS
def test_a_run_tells_how_far_it_is_in_every_encoding(monkeypatch, encoding):
    monkeypatch.setattr(runner, "ProcessPool", fakes.Inline)
    monkeypatch.setattr(commands, "run", lambda *given, **options: run(*given, **options, run_trial=fakes.noisy))
    Path("mine.yaml").write_text(fakes.CLAIMING.replace("A study", "Eine \u00dcbung \u2713"), encoding="utf-8")
    code, text = invoke("study", "run", "mine.yaml", encoding=encoding)
    assert code == 0
    assert "12 done, 0 diverged, 0 failed." in text


def test_every_console_replaces_what_its_stream_lacks():
    @click.group(cls=OneLineGroup)
    def group() -> None: ...

    @group.command()
    def say() -> None:
        terminal.console().print(Text(f"{MINUS}1 \N{PLUS-MINUS SIGN} 2 \N{CHECK MARK} \u4e2d \udc80"))
        click.echo(f"{MINUS}3 \u4e2d")
        raise StudyError(f"{MINUS}4 \u4e2d\x1b[0m")

    result = CliRunner(charset="cp1252").invoke(group, ["say"])
    assert result.stdout_bytes.decode("cp1252") == "-1 \xb1 2 + ? \\udc80\n-3 ?\n"
    assert result.stderr_bytes.decode("cp1252") == "Error: -4 ?\\x1b[0m\n"


def test_nothing_that_others_wrote_moves_the_cursor_or_becomes_a_tag(tmp_path):
    study = replace(fakes.claiming(), title=f"Title {NASTY}", question=f"Question {NASTY}")
    results = [fakes.noisy(trial) for trial in study.trials]
    results[0] = replace(
        results[0], status="failed", epochs=(), error=f"ValueError: {NASTY}", hardware={"processor": NASTY}
    )
    with Store.create(tmp_path, study) as store:
        for result in results:
            store.add(result)
    export_table(results, tmp_path / "t.json", form="json")
    rows = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps([{**row, f"version_{NASTY}": NASTY} for row in rows]))
    table = tmp_path / "a \x1b[31m.json"
    (tmp_path / "t.json").rename(table)
    said = [
        invoke("study", "report", tmp_path),
        invoke("study", "status", tmp_path),
        invoke("study", "ask", tmp_path, "constant is superior to tied"),
        invoke("study", "report", table),
        invoke("study", "ask", table, "constant is superior to tied"),
    ]
    assert [code for code, _ in said] == [0, 0, 4, 0, 4]  # 4: a claim that is undecided
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "a \x1b[31m.html")]
    for text in [*(text for _, text in said), *pages]:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    for page in pages:
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
    # Rich leaves a bell out by itself.
    assert r"Title \x1b[2J\x1b]0;owned \u202egnp.exe\x9b31m" in said[0][1]
