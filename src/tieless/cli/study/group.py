"""Group ``tieless study``, and the arguments that its commands share."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def study() -> None:
    """Run studies: grids of trainings that answer a question."""
