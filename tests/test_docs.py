"""README and docs are true: their Python runs, their studies are studies, their commands exist."""

import doctest
import importlib
import importlib.metadata
import inspect
import linecache
import pkgutil
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click
import nbformat
import pytest
from click.testing import CliRunner

import tieless
from tieless import own
from tieless.cli import main
from tieless.models import models
from tieless.study import load_study, parse_study, shipped
from tieless.study.file import schema
from tieless.study.settings.optimisers import OPTIMISERS

ROOT = Path(__file__).parents[1]
# Pages of notebooks are written when the site is built, and asked for by tests of their own.
NOTEBOOKS = {f"notebooks/{path.stem}.md": path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "notebooks"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*).*?\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bibtex", "console", "make", "pycon", "python", "text", "yaml"}
DOCTEST_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    language: str
    body: str
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [Block(m["language"], m["body"], text.count("\n", 0, m.start("body"))) for m in FENCE.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def pages_with(*languages: str) -> pytest.MarkDecorator:
    pages = [page for page in PAGES if blocks(page, *languages)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


def titled(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files that a page shows, each under its title, into a folder, and go there."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(own, "_LOADED", {})
    monkeypatch.setattr(own._MEMORY, "parts", {})
    for match in re.finditer(
        r'^```\w+ title="([\w.]+)"\n(.*?)^```$', page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        monkeypatch.delitem(sys.modules, Path(match[1]).stem, raising=False)
        (folder / match[1]).write_text(match[2], encoding="utf-8")


def commands(page: Path) -> list[list[str]]:
    """Words of each line after a ``$`` in the page's console blocks; a line may go on after a backslash."""
    lines = [line for block in blocks(page, "console") for line in block.body.replace("\\\n", " ").splitlines()]
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]


def test_each_page_is_in_the_navigation():
    docs = {page.relative_to(ROOT / "docs").as_posix() for page in WRITTEN} | NOTEBOOKS.keys()
    assert set(re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))) == docs


def test_each_page_has_one_title():
    """The name of a page in the navigation is the title that it has itself."""
    entries = re.findall(r'"([^"]+)" = "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))

    def text(page: str) -> str:
        if page in NOTEBOOKS:
            return nbformat.read(NOTEBOOKS[page], as_version=4).cells[0].source
        return (ROOT / "docs" / page).read_text(encoding="utf-8")

    titles = {page: text(page).split("\n", 1)[0] for _, page in entries}
    del titles["index.md"], titles["changelog.md"]
    assert titles == {page: f"# {name}" for name, page in entries if page in titles}


def test_the_home_page_leads_to_each_page():
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (docs / "index.md").read_text(encoding="utf-8")))
    assert ({page.name for page in docs.glob("*.md")} | NOTEBOOKS.keys()) - linked == {"index.md"}


@pytest.mark.parametrize("script", ["home_pictures", "diagrams"])
def test_pictures_are_what_the_code_draws(script, monkeypatch):
    """If not: python tools/home_pictures.py, python tools/diagrams.py."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = runpy.run_path(str(ROOT / "tools" / f"{script}.py"))
    for name, picture in tool["pictures"]().items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == picture


@pages_with()
def test_each_block_is_in_a_language_that_is_tested(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pages_with("python", "pycon")
def test_python_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for block in blocks(page, "python", "pycon"):
        if block.language == "python":
            # Empty lines above give an error the line of the page. Classes have a source, as those of a notebook have.
            text, name = "\n" * block.line + block.body, f"{page}, line {block.line}"
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
            exec(compile(text, name, "exec"), names)  # noqa: S102 - our own pages
        else:
            example = doctest.DocTestParser().get_doctest(block.body, names, page.name, str(page), block.line)
            doctest.DebugRunner(optionflags=DOCTEST_FLAGS).run(example, clear_globs=False)
            names.update(example.globs)


def test_each_study_that_ships_is_described():
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert (
        sorted(re.findall(r"^\| `(quickstart|(?:beyond|mechanism|paper|zoo)/[\w-]+)` \|", page, re.MULTILINE))
        == shipped()
    )


def test_the_reference_of_studies_has_each_key_setting_model_and_optimiser():
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    fields = {*schema.StudyModel.model_fields, *schema.GridModel.model_fields}
    missing = {
        name for name in fields | set(models()) | set(OPTIMISERS.catalogue()) if not re.search(rf"`{name}\b", page)
    }
    assert missing == set()


def moved(name: str) -> set[str]:
    """Anchors that a page had before it was split, each beside a link to a heading that exists."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w/-]+\.md)(?:#([\w-]+))?\)\{#([\w-]+)\}", page)
    for file, anchor, _ in links:
        headings = re.findall(r"^##+ (.+)$", (ROOT / "docs" / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {"", *(heading.lower().replace(" ", "-").replace("`", "") for heading in headings)}
    return {old for *_, old in links}


def test_links_into_pages_from_before_they_were_split_lead_somewhere():
    assert moved("studies.md") == {
        *("stop-go-on-look", "watch-a-run", "the-report", "figures-for-a-paper"),
        *("a-study-of-your-own", "run-until-decided", "choose-learning-rates-honestly"),
    }
    assert moved("performance.md") == {
        *("the-activation", "why-the-missed-targets-are-missed", "gelu-and-silu-in-few-bits"),
        *("how-exact-gelu-and-silu-are", "the-same-rule-elsewhere", "a-compiled-network", "neurons-over-time"),
        *(
            "memory-of-networks-of-step-functions",
            "channels-last",
            "an-epoch-of-lenet-5",
            "a-call-that-convert-reached",
        ),
        *("the-first-call-of-a-process", "the-monitor", "an-update-of-directionfirst", "denormal-numbers"),
        *("throughput-of-a-study", "a-large-store", "on-a-gpu", "packed-networks", "bits-or-bytes"),
        *("beside-larq-compute-engine", "whole-networks", "two-threads", "memory-of-a-vision-transformer"),
    }


def test_the_reference_of_studies_keeps_its_headings():
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    stayed = (
        "What ships",
        "Keys of a file",
        "Settings of a run",
        "Claims",
        "The store",
        "Export",
        "Tables of runs",
        "Exit codes",
    )
    assert all(f"\n## {heading}\n" in page for heading in stayed)


def test_the_reference_reads_our_docstrings():
    griffe = pytest.importorskip("griffe")
    to_google = runpy.run_path(str(ROOT / "tools" / "docstrings.py"))["to_google"]
    sections = griffe.Docstring(to_google(inspect.cleandoc(tieless.Rectangular.__doc__))).parse("google")
    kinds = [section.kind.value for section in sections]
    assert kinds == ["text", "parameters", "text", "raises", "text", "examples"]
    assert "**When to use it:**" in sections[4].value
    assert [(argument.name, argument.description) for argument in sections[1].value] == [
        ("low", "Edges of the window, in units of ``z``."),
        ("high", "Edges of the window, in units of ``z``."),
        ("height", "Multiplier inside, any finite number."),
    ]
    assert sections[2].value.startswith("**Shape:**")


def test_the_reference_names_what_there_is():
    names = {
        name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert names
    for name in names:
        pkgutil.resolve_name(name)


def test_the_api_by_task_has_each_public_name_once():
    """If not: add it to a task in tools/api_tasks.py, and run that."""
    tool = runpy.run_path(str(ROOT / "tools" / "api_tasks.py"))
    listed = [name for _, names in tool["TASKS"].values() for name in names.split()]
    assert sorted(listed) == sorted(tool["public"]())
    assert {path.name for path in (ROOT / "src" / "tieless").iterdir() if (path / "__init__.py").is_file()} - {
        name.rpartition(".")[2] for name in tool["MODULES"]
    } == {"cli", "compat", "functional", "kernels", "ops"}
    page = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    assert page == tool["page"]()
    assert [line for line in page.splitlines() if line.startswith("| `") and "Type of an argument" not in line] == []


def test_the_catalogue_is_what_the_code_says():
    """If not: python tools/rules_page.py."""
    tool = runpy.run_path(str(ROOT / "tools" / "rules_page.py"))
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == tool["page"]()
    for page, text in tool["choices"]().items():
        assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("rule", tieless.rules().values(), ids=tieless.rules())
def test_each_rule_says_where_it_is_from_and_when_to_use_it(rule):
    sections = runpy.run_path(str(ROOT / "tools" / "rules_page.py"))["sections"](rule)
    assert sections["Source"]
    assert sections["Use"]


@pages_with("yaml")
def test_each_study_is_valid(page, tmp_path, monkeypatch):
    titled(page, tmp_path, monkeypatch)
    for block in blocks(page, "yaml"):
        # Code is named as the page's commands name it.
        imports = re.findall(r"^imports: \[([\w.]+)\]$", block.body, re.MULTILINE)
        assert parse_study(block.body, name=f"{page.name}:{block.line}", imports=imports).trials


def parsed(command: click.Command, words: list[str]) -> click.Context:
    """Parse a command line down to the last subcommand, without running it."""
    context = command.make_context(command.name, words)
    while isinstance(command, click.Group) and (words := [*context._protected_args, *context.args]):
        _, command, words = command.resolve_command(context, words)
        context = command.make_context(command.name, words, parent=context)
    return context


def check_tieless(words: list[str]) -> None:
    context = parsed(main, words)
    study = context.params.get("name_or_file", "its own.yaml")
    if not study.endswith(".yaml"):
        assert load_study(study, context.params["overrides"], check=False).trials


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(words) <= targets


def check_pip(words: list[str]) -> None:
    extras = {extra for word in words for group in re.findall(r"\[([\w,]+)\]$", word) for extra in group.split(",")}
    assert words[0] == "install"
    assert extras <= set(importlib.metadata.metadata("tieless").get_all("Provides-Extra"))


def check_file(words: list[str]) -> None:
    named = f"{words[1].replace('.', '/')}/__main__.py" if words[0] == "-m" else words[0]
    assert (ROOT / named).is_file()


def check_python(words: list[str]) -> None:
    """Check that a command is ``-m pytest FILE ...``, ``-m findings ...``, or a script."""
    if words[:2] == ["-m", "findings"]:
        parsed(importlib.import_module("findings.__main__").main, words[2:])
    else:
        check_file(words[2:] if words[:2] == ["-m", "pytest"] else words)


CHECKS = {
    ".ci/run": lambda _: None,
    "git": lambda _: None,
    "make": check_make,
    "pip": check_pip,
    "pre-commit": lambda _: check_file([".pre-commit-config.yaml"]),
    "python": check_python,
    "tieless": check_tieless,
    "tools/get-peers": lambda _: check_file(["tools/get-peers"]),
}


def test_a_study_of_ones_own_network_runs_as_it_stands(tmp_path, monkeypatch):
    """In an empty folder: the files of the page, its script for the data, and then each command."""
    page = ROOT / "docs" / "own-network.md"
    titled(page, tmp_path, monkeypatch)
    runpy.run_path("make_data.py", run_name="__main__")
    codes = {}
    for _, *words in commands(page):
        result = CliRunner().invoke(main, words)
        assert result.exit_code in ((0, 3, 4) if words[1] == "ask" else (0,)), f"{words}: {result.output}"
        codes[" ".join(words)] = result
    ran = [result.output for line, result in codes.items() if line.startswith("study run")]
    for output, told in zip(ran, blocks(page, "text"), strict=True):
        assert "90 done, 0 diverged, 0 failed" in output
        assert told.body in output
    asked = [result for line, result in codes.items() if line.startswith("study ask")]
    assert [result.exit_code for result in asked] == [0, 0, 0]


@pages_with("console")
def test_commands_exist(page, tmp_path, monkeypatch):
    titled(page, tmp_path, monkeypatch)
    for program, *words in commands(page):
        CHECKS[program.removeprefix(".venv/bin/")](words)
