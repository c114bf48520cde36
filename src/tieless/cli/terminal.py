"""Where the command line prints: signs that the terminal lacks are replaced, control characters of others are shown."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tieless.report.printable import cleaned

__all__ = ["console", "replace_signs"]

_REPLACED = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MIDDLE DOT}": "|",
    "\N{CHECK MARK}": "+",
    "\N{MULTIPLICATION X}": "x",
    "\N{CIRCLE WITH LEFT HALF BLACK}": "o",
    "\N{UPWARDS ARROW}": "^",
    "\N{DOWNWARDS ARROW}": "v",
}
"""What the reports write with signs beyond ASCII. A number that lost its minus would be another number."""


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_REPLACED.get(sign, "?") for sign in lacking), error.end


codecs.register_error("tieless", _replacement)


def replace_signs() -> None:
    """Let everything that is printed from now on come out, in whatever encoding the terminal or the pipe has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tieless")


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return cleaned(super().render(renderable, options))


def console() -> Console:
    """The console of every command."""
    return _Console()
