"""Print every number of the findings from committed data: the tables within the pages, and the figures. Tests hold it to that.

    python tools/findings.py [--check]

Pages are Markdown with blocks between ``<!-- findings: DIRECTIVE -->`` and ``<!-- end -->``; what stands between the two
is written by this program and by nobody else. ``finding_blocks.py`` has the directives, ``finding_figures.py`` the figures,
``finding_data.py`` the tables that they read. Verdicts are those of ``tieless.study``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from finding_blocks import Judged, block
from finding_data import RESULTS, Row
from finding_figures import FIGURES, draw

from tieless.errors import StudyError, TielessError

PAGES = RESULTS.parent / "findings"
INDEX = "index.md"
_BLOCK = re.compile(r"<!-- findings: (?P<directive>.*?)\s*-->\n(?P<printed>.*?)<!-- end -->", re.DOTALL)
_MARKS = re.compile(r"<!-- (findings:|end)")


def filled(text: str, name: str, shown: Judged) -> str:
    """A page with its blocks printed anew.

    Args:
        text: The page.
        name: What to call it in messages.
        shown: Comparisons that the pages before it show; those of this page are added.
    Raises:
        StudyError: a directive that is none or cannot be printed, or a block that has no end. One line.
    """
    blocks = list(_BLOCK.finditer(text))
    if len(_MARKS.findall(text)) != 2 * len(blocks) or any("<!-- findings:" in found["printed"] for found in blocks):
        raise StudyError(f"{name}: expected '<!-- end -->' behind each '<!-- findings: ... -->', got other marks.")
    parts: list[str] = []
    end = 0
    for found in blocks:
        line = text.count("\n", 0, found.start()) + 1
        try:
            printed = block(found["directive"], shown)
        except TielessError as error:
            raise StudyError(f"{name}, line {line}: {error}") from None
        parts += [text[end : found.start("printed")], f"\n{printed}\n\n<!-- end -->"]
        end = found.end()
    return "".join([*parts, text[end:]])


def pages(folder: Path | None = None) -> tuple[dict[Path, str], dict[str, list[Row]]]:
    """Every page as it should be, and the comparisons that each shows.

    The index is last, for it quotes what the others have judged.

    Args:
        folder: Where the pages are, ``PAGES`` unless given.
    """
    folder = folder or PAGES
    shown: Judged = {}
    texts: dict[Path, str] = {}
    own: dict[str, list[Row]] = {}
    files = sorted(folder.glob("*.md"), key=lambda file: (file.name == INDEX, file.name))
    if not files:
        raise StudyError(f"There are no pages in {folder}.")
    for file in files:
        before = {name: len(rows) for name, rows in shown.items()}
        texts[file] = filled(file.read_text(encoding="utf-8"), file.name, shown)
        own[file.name] = [row for name, rows in shown.items() for row in rows[before.get(name, 0) :]]
    return texts, own


def differing(texts: dict[Path, str]) -> list[str]:
    """Names of the pages that are not as they should be."""
    return [file.name for file, text in texts.items() if file.read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is not what data say")
    options = parser.parse_args(arguments)
    try:
        texts, own = pages()
        changed = differing(texts)
        if options.check:
            if changed:
                sys.exit(f"Not what the data say: {', '.join(changed)}. Run 'make findings'.")
            print(f"{len(texts)} pages are what the data say.")
            return
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
        for name, (page, _) in FIGURES.items():
            draw(name, own[page], PAGES / f"{name}.svg")
    except TielessError as error:
        sys.exit(f"Error: {error}")
    print(f"Wrote {len(texts)} pages, of which {len(changed)} have changed, and {len(FIGURES)} figures.")


if __name__ == "__main__":
    main()
