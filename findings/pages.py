"""The pages and figures: every number is printed from the tables.

A page is Markdown with blocks between ``<!-- findings: DIRECTIVE -->`` and ``<!-- end -->``; what stands between the two is
written by ``python -m findings`` and by nobody else.
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
        StudyError: a directive is unknown or cannot be printed, or a block has no end. One line.
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
    """Every page as it should be, and the comparisons that each shows.

    The index is last, for it quotes what the others have judged.
    """
    shown: Judged = {}
    texts: dict[Path, str] = {}
    own: dict[str, list[Row]] = {}
    files = sorted(PAGES.glob("*.md"), key=lambda file: (file.name == INDEX, file.name))
    if not files:
        raise StudyError(f"There are no pages in {PAGES}.")
    for file in files:
        before = {name: len(rows) for name, rows in shown.items()}
        texts[file] = filled(file.read_text(encoding="utf-8"), file.name, shown)
        own[file.name] = [row for name, rows in shown.items() for row in rows[before.get(name, 0) :]]
    return texts, own


def differing(texts: Mapping[Path, str]) -> list[str]:
    """Names of the pages that are not as they should be."""
    return [file.name for file, text in texts.items() if file.read_text(encoding="utf-8") != text]


def draw_figures(own: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """Draw all figures.

    Args:
        own: By page, the comparisons that it shows.
        folder: Where to.
    """
    for name, (page, _) in FIGURES.items():
        draw(name, own[page], folder / f"{name}.svg")


def differing_figures(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """Names of the figures that are drawn otherwise, with this version of Matplotlib."""
    with TemporaryDirectory() as folder:
        draw_figures(own, Path(folder))
        return [
            drawn.name for drawn in sorted(Path(folder).iterdir()) if drawn.read_bytes() != _content(PAGES / drawn.name)
        ]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
