"""Packed networks without PyTorch: load a file that ``tieless.deploy.pack`` wrote, and run it on the CPU."""

from __future__ import annotations

from tieless_runtime.errors import PackedError, PackedFileError, PackedInputError
from tieless_runtime.file import read, write
from tieless_runtime.model import Model
from tieless_runtime.network import Network
from tieless_runtime.reference import evaluate

__version__ = "0.1.0"

__all__ = [
    "Model",
    "Network",
    "PackedError",
    "PackedFileError",
    "PackedInputError",
    "evaluate",
    "read",
    "write",
]
