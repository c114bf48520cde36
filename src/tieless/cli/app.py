"""Command group ``tieless``: an error is one line, and the exit code says how a command ended."""

from __future__ import annotations

import sys
from typing import Any

import click

from tieless.cli.catalogue import forwards, rules
from tieless.cli.data import data
from tieless.cli.diagnose import diagnose
from tieless.cli.doctor import doctor
from tieless.cli.explain import explain_model
from tieless.cli.export import export
from tieless.cli.study import study
from tieless.cli.terminal import CLOSED, drop_output, replace_signs, say, words
from tieless.errors import LostResultError, TielessError


class OneLineGroup(click.Group):
    """Command group that never ends with a traceback for an error of tieless or of the system.

    Exit code 2 and one line on stderr for a usage error; 1 if a study has lost a result, 130 for Ctrl-C, 141 if the
    reader of the output has gone.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Nobody reads, so nothing is said. Click would end the process with code 1.
            drop_output()
            ctx.exit(CLOSED)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        if standalone_mode:
            replace_signs()
        try:
            code: Any = super().main(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = 2
        except (click.ClickException, TielessError, OSError, MemoryError) as error:
            if not standalone_mode:
                raise
            say(f"Error: {_line(error)}", err=True)
            code = 1 if isinstance(error, LostResultError) else 2
            if isinstance(error, OSError) and error.filename is None:
                drop_output()  # it is most likely what cannot be written
        except click.Abort:
            say("Interrupted.", err=True)
            code = 130
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _line(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        # Click lists the choices of an option in lines of their own.
        return " ".join(error.format_message().split())
    if isinstance(error, MemoryError):
        return "The memory of this machine is not enough for that."
    return words(error) if isinstance(error, OSError) else str(error)


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tieless", message="%(prog)s %(version)s")
def main() -> None:
    """Train networks whose backward pass is not tied to their forward pass."""


for command in (data, diagnose, doctor, explain_model, export, forwards, rules, study):
    main.add_command(command)
