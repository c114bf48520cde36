"""``tieless rules`` and ``tieless forwards``: what there is, how it is written, what it does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import tieless
from tieless.registry import Named

__all__ = ["forwards", "rules"]


def _spec(cls: type[Named]) -> str:
    """The spec with every default written out; a parameter without one stands as its bare name."""
    parameters = inspect.signature(cls).parameters.values()
    parts = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
    return f"{cls.name}({', '.join(parts)})" if parts else cls.name


def _table(catalogue: Mapping[str, type[Named]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "spec", "what it does"):
        table.add_column(title, overflow="fold")
    for name, cls in catalogue.items():
        # Text, not str: rich would read "[-1, 1]" in a docstring as markup.
        table.add_row(Text(name, style="cyan"), Text(_spec(cls)), Text((inspect.getdoc(cls) or "").split("\n", 1)[0]))
    return table


@click.command()
def rules() -> None:
    """List the backward rules."""
    Console().print(_table(tieless.rules()))


@click.command()
def forwards() -> None:
    """List the forwards."""
    Console().print(_table(tieless.forwards()))
