"""Option ``--import``, by which the command line allows code of the user's own to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tieless import own

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _use(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        own.use(name)
    return names


def _option(*, expose: bool) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--import",
        "imports",
        multiple=True,
        metavar="FILE.py|MODULE",
        callback=_use,
        expose_value=expose,
        help="Code of your own to run first: what it registers can be named. Again for more.",
    )


imports = _option(expose=False)
"""Option of a command that only needs the code to have run."""
imported = _option(expose=True)
"""Option of a command that also needs the names of the code."""
