"""Packages of Debian as a source of data: downloaded and unpacked into a folder, without root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tieless.data.programs import need, run
from tieless.data.published import Publication, Supplier, Tell
from tieless.errors import DataError

_BLAME = re.compile("E:")


@dataclass(frozen=True, slots=True)
class DebianPackage(Supplier):
    """Package of Debian that has the files.

    Args:
        package: Name of the package.
        folder: Folder into which it installs them, from ``/`` on.
    """

    package: str
    folder: Path

    @property
    def title(self) -> str:
        return f"Debian's {self.package}"

    @property
    def installed(self) -> Path | None:
        return self.folder

    @property
    def repair(self) -> str:
        return f"Reinstall {self.package}"

    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Unpack the package below ``folder``, as its files would lie below ``/``.

        The machine's package lists are tried first. If they are absent or out of date, fresh ones are fetched into
        ``folder``, which needs no root; apt checks them against the system's keys as always.
        """
        need("apt-get", "dpkg-deb")
        # Run by root, apt downloads as the user _apt, who must be able to enter.
        folder.chmod(0o755)
        tell(f"Downloading Debian's package {self.package} ...")
        try:
            run("apt-get", "download", self.package, folder=folder, blame=_BLAME)
        except DataError:
            private = _private_lists(folder)
            tell("Fetching Debian's package lists, as those of this machine do not give the package ...")
            complaints = run("apt-get", *private, "update", folder=folder, blame=_BLAME)
            try:
                run("apt-get", *private, "download", self.package, folder=folder, blame=_BLAME)
            except DataError as error:
                # apt calls an update without any network a success with warnings, and the reason is in them.
                unreachable = [line for line in complaints if "Failed to fetch" in line][:1]
                raise DataError("; ".join([str(error), *unreachable])) from None
        archives = sorted(folder.glob("*.deb"))
        if not archives:
            raise DataError("apt-get download left no package behind")
        run("dpkg-deb", "-x", archives[0].name, ".", folder=folder, blame=_BLAME)
        return folder / self.folder.relative_to("/")


def _private_lists(folder: Path) -> tuple[str, ...]:
    state = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    return (
        *("-o", f"Dir::State::lists={state}/lists"),
        *("-o", f"Dir::Cache={state}/cache"),
        *("-o", "Acquire::Languages=none"),
        *("-o", "Acquire::Retries=2"),
    )
