"""The command line: it parses, calls the library and prints."""
# The packages of the study are imported only to see if they exist.
# ruff: noqa: F401
# pyright: reportUnusedImport=false
# A missing package must be reported in one line, before anything below needs it.

from __future__ import annotations

import sys

from tieless._imports import try_import
from tieless.errors import MissingExtraError

with try_import("study") as _study_extra:
    import click as _click
    import filelock as _filelock
    import msgspec as _msgspec
    import pydantic as _pydantic
    import rich as _rich
    import yaml as _yaml

try:
    _study_extra.check()
except MissingExtraError as _error:
    if set(sys.argv[1:]) & {"-h", "--help"}:
        sys.stdout.write(
            "Usage: tieless COMMAND [ARGS]...\n\n"
            "  Run studies, list rules and forwards, measure and diagnose models, export packed networks.\n\n"
            f"The library works without its command line. {_error}\n"
        )
        raise SystemExit(0) from None
    sys.stderr.write(f"Error: {_error}\n")
    raise SystemExit(2) from None

from tieless.cli.app import main

__all__ = ["main"]
