"""Command ``tieless doctor``: the kernels that run, the reasons against the others, and a check of their results."""

from __future__ import annotations

from contextlib import nullcontext

import click
from rich.table import Table
from rich.text import Text

from tieless._table import aligned
from tieless.cli import terminal
from tieless.cli.installation import Installation, KernelChoice, check_up

TITLES = ("device", "dtype", "kernels", "self-test", "not used, and why")


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Show which kernels run here and why, and test them.

    Each is compared with the reference on a small tensor; the exit code is 1 if one differs or none runs. The first
    call compiles what is not in the cache yet.
    """
    console = terminal.console()
    with console.status("Trying the kernels ...") if console.is_terminal else nullcontext():
        found = check_up()
    if console.is_terminal:
        console.print(_kernels(found), Text(), _facts(found))
    else:
        rows = [TITLES, *map(_cells, found.kernels)]
        terminal.say("\n".join([*aligned(rows), "", *aligned(found.facts)]))
    if not found.healthy:
        context.exit(1)


def _cells(choice: KernelChoice) -> tuple[str, ...]:
    others = "; ".join(f"{name}: {reason}" for name, reason in choice.others)
    return choice.device, choice.dtype, choice.used or "none", choice.verdict, others


def _kernels(found: Installation) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for choice in found.kernels:
        device, dtype, used, verdict, others = map(Text, _cells(choice))
        used.stylize("cyan")
        verdict.stylize("green" if choice.healthy else "bold red")
        others.stylize("dim")
        table.add_row(device, dtype, used, verdict, others)
    return table


def _facts(found: Installation) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in found.facts:
        table.add_row(Text(title, style="cyan"), Text(value))
    return table
