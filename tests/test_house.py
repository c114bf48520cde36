"""Habits of the house that no linter knows: exports, the cost of an import, versions that agree, plain docstrings."""

import ast
import importlib
import importlib.metadata
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tieless

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tieless"
MODULES = sorted(SOURCE.rglob("*.py"))

# Modules that `import tieless` must not load: rooms above the front door, and packages that only they need.
ROOMS_ABOVE = ("cli", "compat", "data", "deploy", "models", "report", "study", "testing")
PACKAGES_ABOVE = (
    *("click", "filelock", "jinja2", "matplotlib", "msgspec", "numba", "platformdirs", "pooch", "pyarrow"),
    *("pydantic", "pydantic_core", "rich", "scipy", "sklearn", "tensorboard", "triton", "yaml"),
)

# Folders and modules of the library, and the folders beside it.
PLAIN_ROOMS = (
    *sorted({path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in MODULES}),
    *("benchmarks", "findings", "runtime", "tests", "tools"),
)
# First words that leave the thing without a noun: of a description, and of a summary.
WITHOUT_A_NOUN = {"how", "what", "when", "where", "whether", "which", "who", "whose", "why"}
WITHOUT_A_SUBJECT = {
    *WITHOUT_A_NOUN,
    *("as", "asked", "by", "called", "for", "from", "in", "it", "its", "of", "such"),
    *("that", "theirs", "these", "those", "to", "told", "with"),
}


def is_command(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """True for a function that click reaches through its group, not by its name."""
    return any(isinstance(d, ast.Call) and ast.unparse(d.func).endswith(".command") for d in node.decorator_list)


def names_of(statements: list[ast.stmt]) -> tuple[set[str], set[str], set[str]]:
    """Public names that a module defines by def and class, by assignment, and takes from rooms of tieless."""
    defined, assigned, taken = set(), set(), set()
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            (assigned if is_command(node) else defined).add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned.update(leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
        elif isinstance(node, ast.ImportFrom) and re.match(r"tieless\b(?!\._)", node.module or ""):
            taken.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try)):
            for names, inside in zip((defined, assigned, taken), names_of(node.body), strict=True):
                names.update(inside)
    return tuple({name for name in names if not name.startswith("_")} for names in (defined, assigned, taken))


def exported_names(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return ast.literal_eval(node.value)
    return []


def docstrings(path: Path) -> list[tuple[int, list[str]]]:
    """Docstrings of a module, each with the number of its first line and its lines."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    found = [(node.body[0].lineno, ast.get_docstring(node, clean=False)) for node in nodes if ast.get_docstring(node)]
    return [(line, text.split("\n")) for line, text in found]


def not_plain(lines: list[str]) -> list[int]:
    """Indices of those lines of a docstring that name no thing: its summary, or the description of an argument."""

    def opens_with(words: set[str], text: str) -> bool:
        return re.match(r"[\w']*", text.lower())[0] in words

    wrong = {0} if opens_with(WITHOUT_A_NOUN, lines[0].strip()) or lines[0].rstrip().endswith("?") else set()
    section = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() in {"Args:", "Attributes:"}:
            section = indent
        elif line.strip() and section is not None and indent <= section:
            section = None
        described = line.partition(": ")[2] if section is not None and indent == section + 4 else ""
        if opens_with(WITHOUT_A_SUBJECT, described) or re.search(r"\bWhether\b", line):
            wrong.add(number)
    return sorted(wrong)


def module_id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=module_id)
def test_a_package_exports_exactly_its_public_names(path):
    """Names that it defines and that it takes from its rooms, unless it took them for its own use."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined, assigned, taken = names_of(tree.body)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert defined | assigned | taken - used <= set(exported_names(tree)) <= defined | assigned | taken


def test_exports_are_listed_where_users_import():
    """Elsewhere an underscore says it: a list would have to be kept in step and would be read by nobody."""
    listed = {module_id(path) for path in MODULES if exported_names(ast.parse(path.read_text(encoding="utf-8")))}
    fronts = {name for name in listed if name.endswith("__init__.py")}
    others = {name for name in listed - fronts if not name.startswith("compat/freegrad/")}
    assert others == {"errors.py", "compat/snntorch.py", "compat/spikingjelly.py"}


@pytest.mark.parametrize("room", PLAIN_ROOMS)
def test_docstrings_name_the_thing(room):
    """Summaries and descriptions begin with a noun, a verb or "True if"; none asks a question, but a benchmark's first line."""
    modules = [path for path in MODULES if path.relative_to(SOURCE).parts[0].removesuffix(".py") == room]
    modules = modules or sorted((ROOT / room).rglob("*.py"))
    assert modules
    found = [
        f"{path.relative_to(ROOT)}:{first + number}: {lines[number].strip()}"
        for path in modules
        for first, lines in docstrings(path)
        for number in not_plain(lines)
        if (room, first + number) != ("benchmarks", 1)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("docstring", "wrong"),
    [
        ("Width of a window.\n\n    Args:\n        low: Lower edge.\n        open: True if it is outside.\n", []),
        ("Which kernels run.", [0]),
        ("Is it a window?", [0]),
        ("Width.\n\n    Attributes:\n        low: Of the window.\n        high: Edge,\n            of it.\n", [3]),
        ("Width.\n\n    Args:\n        low: Its edge.\n    Raises:\n        ValueError: it is none.\n", [3]),
        ("Width.\n\n    Args:\n        even: True.\n            Whether it is even.\n", [4]),
    ],
)
def test_a_docstring_without_a_noun_is_found(docstring, wrong):
    assert not_plain(docstring.split("\n")) == wrong


def loaded_after(statement: str) -> dict[str, object]:
    """Modules in a fresh interpreter after ``statement``, and True if CUDA has started there."""
    report = "import json, sys, torch; print(json.dumps([sorted(sys.modules), torch.cuda.is_initialized()]))"
    run = subprocess.run([sys.executable, "-c", f"{statement}; {report}"], capture_output=True, text=True, check=True)
    modules, cuda = json.loads(run.stdout)
    return {"modules": set(modules), "cuda": cuda}


def test_import_tieless_loads_the_core_and_starts_nothing():
    after = loaded_after("import tieless")
    added = after["modules"] - loaded_after("import torch")["modules"]
    assert "tieless" in added
    assert sorted(added & {f"tieless.{room}" for room in (*ROOMS_ABOVE, "diagnose")}) == []
    assert sorted({name.partition(".")[0] for name in added} & set(PACKAGES_ABOVE)) == []
    # The compiler takes longer to import than torch itself.
    assert not any(name.startswith("torch._dynamo") for name in added)
    assert after["cuda"] is False


def test_the_core_imports_nothing_that_it_does_not_declare():
    """Code that runs when its modules are imported; an import under TYPE_CHECKING does not."""
    core = [path for path in MODULES if not {*path.relative_to(SOURCE).parts} & {*ROOMS_ABOVE, "diagnose", "_yaml.py"}]
    found = {name for path in core for name in imported(ast.parse(path.read_text(encoding="utf-8")).body)}
    declared = {
        "torch",
        "numba",
        "numpy",
        "llvmlite",
        "triton",
    }  # numba brings the next two, torch the last where it is used
    assert found - set(sys.stdlib_module_names) - {"tieless"} <= declared


def imported(statements: list[ast.stmt]) -> set[str]:
    """Packages that statements import when they run."""
    found = {node.module.partition(".")[0] for node in statements if isinstance(node, ast.ImportFrom) and node.module}
    return found | {
        name.name.partition(".")[0] for node in statements if isinstance(node, ast.Import) for name in node.names
    }


def test_diagnose_is_imported_when_something_of_it_is_asked_for():
    for use in ("import tieless; tieless.checkup", "import tieless; tieless.diagnose.bounds", "from tieless import *"):
        assert "tieless.diagnose.health.checkup" in loaded_after(use)["modules"], use
    assert {"checkup", "diagnose", "untie"} <= set(dir(tieless))
    assert tieless.Checkup is tieless.diagnose.Checkup
    with pytest.raises(AttributeError, match=r"^module 'tieless' has no attribute 'chekup'$"):
        tieless.chekup  # noqa: B018  to look it up is all


def test_a_study_is_read_and_checked_without_the_compiler():
    # PyTorch imports it for the first optimiser of a process.
    after = loaded_after("import tieless.study; tieless.study.load_study('paper/suc-ones')")
    assert not any(name.startswith("torch._dynamo") for name in after["modules"])


def test_a_package_of_values_is_its_catalogue_too():
    """Called it is a mapping, and its classes are its attributes: ``tl.Sign`` is a rule, ``tl.forwards.Sign`` a forward."""
    for package, kind in ((tieless.rules, tieless.Rule), (tieless.forwards, tieless.Forward)):
        catalogue = package()
        assert catalogue["sign"] is package.Sign
        assert issubclass(package.Sign, kind)
        assert list(catalogue) == sorted(catalogue)
    assert tieless.Sign is tieless.rules.Sign


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tieless.Alignment", "tieless.diagnose.AlignmentReport"),
        ("tieless.diagnose.Alignment", "tieless.diagnose.AlignmentReport"),
        ("tieless.functional.join", "tieless.functional.pair_of"),
        ("tieless.nn.Alignment", "tieless.nn.SmoothedTarget"),
        ("tieless.nn.CALLS", "tieless.nn.UNTIED_CALLS"),
        ("tieless.nn.Layers", "tieless.nn.Selectors"),
        ("tieless.optim.Annealing", "tieless.nn.RuleScheduler"),
        ("tieless.rules.alternation", "tieless.rules.rule_schedule"),
        ("tieless.study.Cell", "tieless.study.ClaimCell"),
    ],
)
def test_an_old_name_works_and_says_the_new_one(old, new):
    package, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"is {re.escape(new)} now\.$"):
        found = getattr(importlib.import_module(package), name)
    assert found == pkgutil.resolve_name(new)


def test_an_old_name_without_an_object_says_what_replaces_it():
    with pytest.raises(AttributeError, match=r"^tieless\.study\.holm is gone: tieless\.study\.judge shares one level"):
        importlib.import_module("tieless.study").holm  # noqa: B018  to look it up is all


def test_the_version_is_the_same_everywhere():
    version = importlib.metadata.version("tieless")
    changelog = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert {tieless.__version__, changelog[1], citation[1]} == {version}


def test_every_dependency_is_argued_for():
    requirements = [re.match(r"[\w-]+", line)[0] for line in importlib.metadata.requires("tieless")]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    argued = set(re.findall(r"^\| \[`?([\w-]+)`?\]", page, re.MULTILINE))
    assert argued == set(requirements) - {"tieless"}
