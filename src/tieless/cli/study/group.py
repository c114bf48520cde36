"""Group ``tieless study``, and the arguments that its commands share."""

from __future__ import annotations

import gc
from pathlib import Path

import click

FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


def collect_rarely() -> None:
    """Let Python's collector look for cycles after 100,000 new objects.

    By default it does after some hundreds, and walks again and again through the results of a large store, which have none.
    """
    gc.set_threshold(100_000, *gc.get_threshold()[1:])


@click.group()
def study() -> None:
    """Run studies: grids of trainings that answer a question."""
    collect_rarely()
