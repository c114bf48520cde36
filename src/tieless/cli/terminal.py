"""Console of the command line: signs that the terminal lacks are replaced, control characters of others are shown.

It also handles output that nobody reads any more.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tieless.report.printable import cleaned, printable

CLOSED = 141
"""Exit code if the reader of our output has gone: that of a program which SIGPIPE ends."""

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
"""Signs beyond ASCII that the reports write. A number that lost its minus would be another number."""


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_REPLACED.get(sign, "?") for sign in lacking), error.end


codecs.register_error("tieless", _replacement)


def replace_signs() -> None:
    """Make all later output printable in the encoding of the terminal or the pipe."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tieless")


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return cleaned(super().render(renderable, options))

    def on_broken_pipe(self) -> None:
        # Rich would end the process here, whatever it is in the middle of.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """Console of every command."""
    return _Console()


def say(text: str, *, err: bool = False) -> None:
    """Print plain text."""
    click.echo(printable(text), err=err)


def words(error: OSError) -> str:
    """Error of the system in words, with the file if it is about one."""
    about = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{about}{error.strerror or error}."


def drop_output() -> None:
    """Discard the remaining output, which nobody reads."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
