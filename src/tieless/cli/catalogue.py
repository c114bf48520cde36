"""Commands ``tieless rules`` and ``tieless forwards``: the catalogue, with specs, memory and effect of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import tieless
from tieless.cli import terminal
from tieless.cli.options import imports
from tieless.forwards import forward
from tieless.registry import Named
from tieless.report import curve_of, draw_rule
from tieless.rules import Rule
from tieless.rules.catalogue import advised, bits_kept, bits_of, by_family, cost, example, sections


def spec_of(cls: type[Named]) -> str:
    """Spec with every default written out; a parameter without one is its bare name."""
    parameters = inspect.signature(cls).parameters.values()
    parts = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
    return f"{cls.name}({', '.join(parts)})" if parts else cls.name


def _table(classes: Iterable[type[Named]], columns: dict[str, Callable[[type[Named]], str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in (*columns, "what it does"):
        table.add_column(title, overflow="fold", justify="right" if title == "bits" else "left")
    for cls in classes:
        # Text, not str: rich would read "[-1, 1]" in a docstring as markup.
        cells = (Text(column(cls), style="cyan" if title == "spec" else "") for title, column in columns.items())
        table.add_row(*cells, Text((inspect.getdoc(cls) or "").split("\n", 1)[0].replace("``", "")))
    return table


def _bits(cls: type[Named]) -> str:
    return bits_kept(cls) if issubclass(cls, Rule) else ""


@click.command()
@click.argument("spec", metavar="[NAME]", required=False)
@imports
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw what it sends: .svg or .png.")
@click.option("--forward", "beside", metavar="SPEC", help="The forward to draw it beside.")
@click.option(
    "--for", "task", metavar="TASK", help="Rules to start with: spiking, steps, binary, memory, study or a forward."
)
def rules(spec: str | None, plot: Path | None, beside: str | None, task: str | None) -> None:
    """List backward rules by family, or describe one.

    The list has the bits per float32 element that each rule stores for the backward pass. NAME is a name, or a spec
    such as "atan(0.3)". A parameter that is not given is drawn at its default, or at a number that shows the effect of
    the rule.
    """
    console = terminal.console()
    if task is not None:
        if (spec, plot, beside) != (None, None, None):
            raise click.UsageError("--for stands alone: tieless rules --for spiking.")
        _advise(console, task)
    elif spec is not None:
        _tell(console, spec, plot, beside)
    elif plot is not None or beside is not None:
        raise click.UsageError(
            "--plot and --forward need the NAME of a rule, such as: tieless rules atan --plot atan.svg"
        )
    else:
        console.print("Bits are stored for the backward pass, per element of a float32 input.\n")
        for title, classes in by_family().items():
            console.print(Text(title, style="bold"))
            console.print(_table(classes, {"spec": spec_of, "bits": _bits}))
            console.print()


def _advise(console: Console, name: str) -> None:
    for task in advised(name):
        console.print(
            Text(f"For {task.network}{f', with the forward {task.forward}' if task.forward else ''}", style="bold")
        )
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("rule", "bits", "what it is"):
            table.add_column(title, overflow="fold", justify="right" if title == "bits" else "left")
        for advice in task.rules:
            bits = str(bits_of(advice.spec, task.forward)) if task.forward else ""
            table.add_row(Text(advice.spec, style="cyan"), bits, Text(advice.what))
        console.print(table)
        measured = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", re.sub(r" \(\[.+?\]\(.+?\)\)", "", task.measured))
        console.print(Text(f"Measured: {measured}.\n"))


def _tell(console: Console, spec: str, plot: Path | None, beside: str | None) -> None:
    known = tieless.rules()
    rule = example(known[spec]) if spec in known else tieless.rule(spec)
    for part in rule.parts():
        console.print(_entry(type(part)), soft_wrap=True)
    if beside is not None and plot is None:
        raise click.UsageError("--forward is for --plot FILE.")
    if plot is not None:
        try:
            draw_rule(curve_of(rule, beside), plot)
        except OSError as error:
            raise click.UsageError(f"Cannot write {plot}: {error.strerror}.") from error
        console.print(Text(f"Drawn: {rule}, in {plot}"), soft_wrap=True)


def _entry(cls: type[Rule]) -> Text:
    """Entry of one rule, as the documentation shows it."""
    text = sections(cls)
    facts = {
        "spec": spec_of(cls),
        "when to use it": text.get("Use", ""),
        "bits": bits_kept(cls),
        "cost": cost(cls),
        "elsewhere": ", ".join(cls.known_as),
        "source": text.get("Source", ""),
    }
    entry = Text()
    entry.append(f"{cls.name}\n", style="cyan")
    entry.append(f"{text[''].strip()}\n\n".replace("`", ""))
    for title, fact in facts.items():
        if fact:
            entry.append(f"{title}: ", style="bold")
            entry.append(" ".join(fact.replace("`", "").split()) + "\n")
    return entry


@click.command()
@click.argument("spec", metavar="[NAME]", required=False)
@imports
def forwards(spec: str | None) -> None:
    """List the forwards, or describe one.

    NAME is a name, or a spec such as "staircase(4)".
    """
    if spec is None:
        terminal.console().print(_table(tieless.forwards().values(), {"spec": spec_of}))
        return
    known = tieless.forwards()
    cls = known[spec] if spec in known else type(forward(spec))
    entry = Text(f"{cls.name}\n", style="cyan")
    text = (inspect.getdoc(cls) or "").split("Example:", 1)[0]
    entry.append(f"{text.strip()}\n\n".replace("`", ""), style="default")
    entry.append("spec: ", style="bold").append(spec_of(cls), style="default")
    terminal.console().print(entry, soft_wrap=True)
