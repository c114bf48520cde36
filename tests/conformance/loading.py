"""The other packages, loaded from build/peers: only the modules that have the rules, and none of what they need.

norse imports nir and h5py, and brevitas compiles all that it has, before the few files that are wanted here. So packages on
the way to them are stood in for by empty ones that know their folder; brevitas' compiler by a function that does nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "build" / "peers"

# The module with the rules, and the packages that are stood in for.
WANTED = {
    "freegrad": (["freegrad", "freegrad.functional", "freegrad.hook"], []),
    "snntorch": (["snntorch.surrogate"], ["snntorch"]),
    "spikingjelly": (
        ["spikingjelly.activation_based.surrogate", "spikingjelly.activation_based.quantize"],
        ["spikingjelly", "spikingjelly.activation_based"],
    ),
    "norse": (["norse.torch.functional.threshold"], ["norse", "norse.torch"]),
    "brevitas": (["brevitas.ops.autograd_ste_ops"], ["brevitas", "brevitas.ops", "brevitas.function"]),
}


@cache
def load(peer: str) -> tuple[ModuleType, ...] | None:
    """A package's modules, or ``None`` where it was not fetched. Nothing of it stays importable."""
    if not (FOLDER / peer).is_dir():
        return None
    before = dict(sys.modules)
    modules, stand_ins = WANTED[peer]
    sys.path.insert(0, str(FOLDER))
    try:
        for name in stand_ins:
            package = ModuleType(name)
            package.__path__ = [str(FOLDER.joinpath(*name.split(".")))]
            sys.modules[name] = package
        if peer == "brevitas":
            sys.modules["brevitas"].jit = _Uncompiled
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(importlib.import_module(name) for name in modules)
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name.partition(".")[0] == peer and name not in before]:
            del sys.modules[name]


class _Uncompiled:
    """In the place of TorchScript."""

    @staticmethod
    def script(function: Callable[..., object]) -> Callable[..., object]:
        return function

    ignore = script


def version(peer: str) -> str:
    """Packages that were fetched."""
    found = importlib.metadata.distributions(name=peer, path=[str(FOLDER)])
    return next((distribution.version for distribution in found), "not fetched")
