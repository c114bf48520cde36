"""Text of others made printable for a page or a terminal: titles, errors, names, file names."""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; users of rich have checked before.

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tieless._imports import try_import

with try_import("study"):
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.segment import Segment

# Those that move a cursor, colour what follows or turn its direction, and halves of pairs that no encoding has.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Text with its control characters, but for tabs and ends of lines, written as Python writes them.

    Example:
        >>> print(printable("a \x1b[31mred\x1b[0m title"))
        a \x1b[31mred\x1b[0m title
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def cleaned(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments that rich is about to write, with the text of others printable and its own control codes as they are."""
    for segment in segments:
        yield segment if segment.control else Segment(printable(segment.text), segment.style)


class Printable:
    """Renderable of rich whose text is made printable."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from cleaned(console.render(self._shown, options))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown)
