"""Distributions say where they are from, and README works away from its files."""

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text(encoding="utf-8"))


def published():
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join((ROOT / fragment["path"]).read_text(encoding="utf-8") for fragment in hook["fragments"])
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    return text


def test_every_link_of_the_published_readme_is_absolute():
    links = re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", published())
    assert len(links) > 30
    assert [link for pair in links for link in pair if link and not link.startswith(("https://", "#"))] == []


def test_every_file_that_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)|(?:src|srcset)=\"([^\"]+)\"", text)
    missing = [link for pair in links for link in pair if link and not (ROOT / link).is_file()]
    assert missing == []


def test_the_address_is_one():
    home = PROJECT["project"]["urls"]["Homepage"]
    assert all(url.startswith(home) for url in PROJECT["project"]["urls"].values())
    assert all(url.startswith(home) for url in RUNTIME["project"]["urls"].values())
    assert f"]({home}/" in published()


def test_pythons_are_named_alike():
    named = [[line for line in each["project"]["classifiers"] if "Python ::" in line] for each in (PROJECT, RUNTIME)]
    assert named[0] == named[1]
    assert PROJECT["project"]["requires-python"] == RUNTIME["project"]["requires-python"] == ">=3.10"


def test_both_distributions_have_the_licence():
    assert (ROOT / "runtime" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert PROJECT["project"]["license-files"] == RUNTIME["project"]["license-files"] == ["LICENSE"]
