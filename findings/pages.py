"""Pages and figures, in which every number is printed from the tables.

A page is Markdown with blocks between ``<!-- findings: DIRECTIVE -->`` and ``<!-- end -->``; the text between the two
is written by ``python -m findings`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from findings.blocks import Judged, block
from findings.figures import FIGURES, draw
from findings.tables import Row
from tieless.errors import StudyError, TielessError

PAGES = Path(__file__).parents[1] / "docs" / "findings"
LAST = ("verdicts.md", "index.md")
"""Pages that quote the verdicts of the others."""
_BLOCK = re.compile(r"<!-- findings: (?P<directive>.*?)\s*-->\n(?P<printed>.*?)<!-- end -->", re.DOTALL)
_MARKS = re.compile(r"<!-- (findings:|end)")


def filled(text: str, name: str, shown: Judged) -> str:
    """Page with its blocks printed again.

    Args:
        text: Text of the page.
        name: Name of the page in messages.
        shown: Comparisons that the pages before it show; the comparisons of this page are added.
    Raises:
        StudyError: a directive is unknown or cannot be printed, or a block has no end; the message is one line.
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


def pages() -> tuple[dict[Path, str], dict[str, list[Row]]]:
    """Every page with its current blocks, and the comparisons that each shows.

    Those that quote the verdicts of the others are last.
    """
    shown: Judged = {}
    texts: dict[Path, str] = {}
    own: dict[str, list[Row]] = {}
    files = sorted(PAGES.glob("*.md"), key=lambda file: (file.name in LAST, file.name))
    if not files:
        raise StudyError(f"There are no pages in {PAGES}.")
    for file in files:
        before = {name: len(rows) for name, rows in shown.items()}
        texts[file] = filled(file.read_text(encoding="utf-8"), file.name, shown)
        own[file.name] = [row for name, rows in shown.items() for row in rows[before.get(name, 0) :]]
    return texts, own


def differing(texts: Mapping[Path, str]) -> list[str]:
    """Names of the pages that differ from their current blocks."""
    return [file.name for file, text in texts.items() if file.read_text(encoding="utf-8") != text]


def draw_figures(own: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """Draw all figures.

    Args:
        own: Comparisons that a page shows, by page.
        folder: Folder of the figures.
    """
    for name, (page, _) in FIGURES.items():
        draw(name, own[page], folder / f"{name}.svg")


def differing_figures(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """Names of the figures that this version of Matplotlib draws differently."""
    with TemporaryDirectory() as folder:
        draw_figures(own, Path(folder))
        return [
            drawn.name for drawn in sorted(Path(folder).iterdir()) if drawn.read_bytes() != _content(PAGES / drawn.name)
        ]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
