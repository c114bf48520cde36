"""Build the site into site/, with playground, notebooks and the glossary on hover. Every warning is an error: Zensical's, and those that Griffe has about docstrings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import build_playground

import notebooks

ROOT = Path(__file__).parents[1]
HOVER = ROOT / "build" / "hover.txt"
"""File that zensical.toml appends to each page."""
TERMS = (
    "backward rule",
    "DFA",
    "FA",
    "flat forward",
    "gate",
    "jam",
    "latent weights",
    "LIF",
    "sign-symmetric feedback",
)
"""Terms of the glossary that mean nothing else in a text, and so are explained on hover."""


def hover() -> str:
    """Abbreviations of Markdown, from the table of the glossary, for the terms and for their plurals."""
    rows = re.findall(
        r"^\| ([^|]+?) \| ([^|]+?) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    meanings = {term: re.sub(r"\[(.+?)\]\(.+?\)", r"\1", meaning).replace("`", "") for term, meaning in rows}
    if lacking := [term for term in TERMS if term not in meanings]:
        sys.exit(f"docs/glossary.md has no {', '.join(lacking)}: change TERMS in {Path(__file__).name}.")
    plurals = [(f"{term}s", term) for term in ("backward rule", "flat forward", "jam")]
    words = [*((term, term) for term in TERMS), *plurals]
    return "".join(f"*[{word}]: {meanings[term]}\n" for word, term in words)


def main() -> int:
    """Run Zensical strictly, pass on what it prints, and fail where it or Griffe complained."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        sys.exit("Zensical is not installed. It needs Python 3.11 or newer: make PYTHON=python3.12 in a fresh clone.")
    build_playground.main()
    notebooks.pages()
    HOVER.parent.mkdir(exist_ok=True)
    HOVER.write_text(hover(), encoding="utf-8")
    command = [str(zensical), "build", "--strict", "--clean"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as build:
        complaints = 0
        for line in build.stdout or ():
            print(line, end="")
            complaints += line.startswith("griffe:")
    if complaints:
        print(f"{complaints} docstring warnings: fix the lines named above.")
    return build.returncode or int(complaints > 0)


if __name__ == "__main__":
    sys.exit(main())
