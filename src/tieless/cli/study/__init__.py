"""Command ``tieless study``: ``running`` has the commands that run one, ``results`` those about results."""

from __future__ import annotations

# Both add their commands to the group.
from tieless.cli.study import results, running
from tieless.cli.study.group import study

__all__ = ["results", "running", "study"]
