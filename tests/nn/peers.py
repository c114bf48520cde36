"""The cells of other packages, loaded from build/peers without what they need; ``None`` where they were not fetched."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "build" / "peers"


def load(module: str, *stand_ins: str) -> ModuleType | None:
    """A module, with its packages stood in for by empty ones that know their folder. Nothing of it stays importable."""
    peer = module.partition(".")[0]
    if not (FOLDER / peer).is_dir():
        return None
    before = dict(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        for name in stand_ins:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(FOLDER.joinpath(*name.split(".")))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name.partition(".")[0] == peer and name not in before]:
            del sys.modules[name]
