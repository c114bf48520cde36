"""The command group ``tieless``: what goes wrong is said in one line, and how it ended in the exit code."""

from __future__ import annotations

import sys
from typing import Any

import click

from tieless.cli.catalogue import forwards, rules
from tieless.cli.data import data
from tieless.cli.diagnose import diagnose
from tieless.cli.doctor import doctor
from tieless.cli.explain import explain_model
from tieless.cli.study import study
from tieless.cli.terminal import replace_signs
from tieless.errors import TielessError
from tieless.report.printable import printable

__all__ = ["OneLineGroup", "main"]


class OneLineGroup(click.Group):
    """Never ends with a traceback for what tieless refuses.

    Exit code 2 and one line on stderr for a usage error, 130 for Ctrl-C.
    """

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        replace_signs()
        try:
            code: Any = super().main(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = 2
        except (click.ClickException, TielessError) as error:
            if not standalone_mode:
                raise
            # Click lists the choices of an option in lines of their own.
            message = (
                " ".join(error.format_message().split()) if isinstance(error, click.ClickException) else str(error)
            )
            click.echo(f"Error: {printable(message)}", err=True)
            code = 2
        except click.Abort:
            click.echo("Interrupted.", err=True)
            code = 130
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tieless", message="%(prog)s %(version)s")
def main() -> None:
    """Train networks whose backward pass is not tied to their forward pass."""


for command in (data, diagnose, doctor, explain_model, forwards, rules, study):
    main.add_command(command)
