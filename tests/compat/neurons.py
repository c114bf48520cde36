"""The packages with spiking neurons, importable while a test runs, with what they need stood in for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import pytest

from tests.conformance.loading import FOLDER

STAND_INS = ("loguru",)
"""What SpikingJelly writes its log with."""


@contextmanager
def importable(peer: str) -> Iterator[None]:
    """Inside, the package and all that it imports late can be imported. Afterwards nothing of it can."""
    if not (FOLDER / peer).is_dir():
        pytest.skip(f"{peer} was not fetched: tools/get-peers")
    before = dict(sys.modules)
    for name in STAND_INS:
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].logger = mock.MagicMock()
    sys.path.insert(0, str(FOLDER))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what others deprecate is not ours to fix
            yield
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name.partition(".")[0] in (peer, *STAND_INS)]:
            if name not in before:
                del sys.modules[name]
