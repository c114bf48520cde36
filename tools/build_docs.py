"""Build the site into site/, with playground and notebooks. Every warning is an error: Zensical's, and those that Griffe has about docstrings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import build_playground

import notebooks


def main() -> int:
    """Run Zensical strictly, pass on what it prints, and fail where it or Griffe complained."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        sys.exit("Zensical is not installed. It needs Python 3.11 or newer: make PYTHON=python3.12 in a fresh clone.")
    build_playground.main()
    notebooks.pages()
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
