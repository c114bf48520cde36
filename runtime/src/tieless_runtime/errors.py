"""Errors of the runtime. Each message says on one line what was given and what was expected."""

from __future__ import annotations


class PackedError(Exception):
    """Base of all errors of the runtime, so that one ``except`` catches them all."""


class PackedFileError(PackedError, ValueError):
    """File that is no packed network of a known version, or whose content contradicts itself."""


class PackedInputError(PackedError, ValueError):
    """Input or option with which a packed network cannot be run."""
