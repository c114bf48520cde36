"""Optional packages: imported where they are used. Where one is missing, the error is one line that names the extra.

``with try_import("study") as study_extra: import yaml`` at the top of a module, ``study_extra.check()`` at the first
use. Importing the module never fails; using a missing package does, and the error says how to install it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType

from tieless.errors import MissingExtraError


class _TryImport:
    def __init__(self, extra: str) -> None:
        self._extra = extra
        self._missing: str | None = None

    def __enter__(self) -> _TryImport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, ImportError):
            self._missing = error.name or str(error)
            return True
        return False

    def check(self) -> None:
        """Raise ``MissingExtraError`` if the import failed."""
        if self._missing is not None:
            # There is no package index to take tieless or its runtime from: both are in a clone.
            runtime = "./runtime " if self._extra == "deploy" else ""
            raise MissingExtraError(
                f"This needs {self._missing}, which is not installed: pip install {runtime}'.[{self._extra}]' in a clone "
                "of tieless."
            )


def try_import(extra: str) -> _TryImport:
    """Catch the ``ImportError`` of the block, to be raised at the first use as one line that names ``extra``."""
    return _TryImport(extra)


def renamed(package: str, gone: Mapping[str, str] = MappingProxyType({}), **names: str) -> Callable[[str], object]:
    """Make a package's ``__getattr__``, which gives the objects of old names and warns with the new ones.

    Args:
        package: Name of the package.
        gone: Sentence for each old name that has no object any more: what replaces it.
        names: New name of each old one: of the package itself, or ``"other.package:name"``.
    """

    def look_up(name: str) -> object:
        if name in gone:
            raise AttributeError(f"{package}.{name} is gone: {gone[name]}")
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, new = names[name].rpartition(":")
        module = module or package
        warnings.warn(f"{package}.{name} is {module}.{new} now.", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], new)

    return look_up
