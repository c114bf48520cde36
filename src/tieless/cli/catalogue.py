"""``tieless rules`` and ``tieless forwards``: what there is, how it is written, what it keeps, what it does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import tieless
from tieless.registry import Named
from tieless.rules import Rule
from tieless.rules.catalogue import bits_kept, by_family

__all__ = ["forwards", "rules", "spec_of"]


def spec_of(cls: type[Named]) -> str:
    """The spec with every default written out; a parameter without one stands as its bare name."""
    parameters = inspect.signature(cls).parameters.values()
    parts = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
    return f"{cls.name}({', '.join(parts)})" if parts else cls.name


def _table(classes: Iterable[type[Named]], columns: dict[str, Callable[[type[Named]], str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", *columns, "what it does"):
        table.add_column(title, overflow="fold", justify="right" if title == "bits" else "left")
    for cls in classes:
        # Text, not str: rich would read "[-1, 1]" in a docstring as markup.
        cells = [Text(cls.name, style="cyan"), *(Text(column(cls)) for column in columns.values())]
        table.add_row(*cells, Text((inspect.getdoc(cls) or "").split("\n", 1)[0]))
    return table


def _bits(cls: type[Named]) -> str:
    return bits_kept(cls) if issubclass(cls, Rule) else ""


@click.command()
def rules() -> None:
    """List the backward rules by family, with the bits that each keeps for an element of float32."""
    console = Console()
    for title, classes in by_family().items():
        console.print(Text(title, style="bold"))
        console.print(_table(classes, {"spec": spec_of, "bits": _bits}))
        console.print()


@click.command()
def forwards() -> None:
    """List the forwards."""
    Console().print(_table(tieless.forwards().values(), {"spec": spec_of}))
