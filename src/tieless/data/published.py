"""What is published of a data set and who has it. Each data set brings its own files and its own suppliers."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tieless.errors import DataError

Tell = Callable[[str], None]
"""Told, in a line each, what takes long."""


class PublishedFile(ABC):
    """One file as it is kept on this machine, with the one check that every copy passes before it is used.

    Subclasses are ``@dataclass(frozen=True, slots=True)`` with a field ``name``: of the file.
    """

    __slots__ = ()
    name: str

    @abstractmethod
    def find(self, folder: Path) -> Path | None:
        """Where it lies in ``folder``; ``None`` where it is not there, or not all of it."""

    def begun(self, folder: Path) -> bool:
        """Whether any of it is in ``folder``."""
        return self.find(folder) is not None

    @abstractmethod
    def content(self, folder: Path) -> bytes:
        """What is kept of it, checked.

        Raises:
            DataError: it is missing, unreadable, truncated or altered.
        """

    @abstractmethod
    def read(self, folder: Path) -> Tensor:
        """The values in it, checked: uint8, on the CPU.

        Raises:
            DataError: as ``content``, or it is not of the format that it should have.
        """


class Supplier(ABC):
    """One from whom the files can be had, and who may have put them on this machine already.

    Subclasses are ``@dataclass(frozen=True, slots=True)``.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def title(self) -> str:
        """What a message calls it."""

    @property
    def installed(self) -> Path | None:
        """The folder in which the system has the files once they are installed from here, where there is one."""
        return None

    @property
    def repair(self) -> str:
        """What to do where the files in ``installed`` are not sound."""
        return f"Repair what {self.title} has put there"

    @abstractmethod
    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Put the files into ``folder``, as they come: they are checked when read.

        Args:
            publication: What to fetch.
            folder: An empty folder to work in; nothing is written outside it.
            tell: Told what takes long.
        Returns:
            Where they lie: ``folder``, or one in it.
        Raises:
            DataError: they cannot be had from here.
        """


@dataclass(frozen=True, slots=True)
class Publication:
    """The files of one data set, and who has them.

    Args:
        name: Of the data set.
        files: What is kept of it.
        suppliers: Those who have it, in the order in which they are asked.
    """

    name: str
    files: tuple[PublishedFile, ...]
    suppliers: tuple[Supplier, ...]


def read_checked(path: Path, size: int, sha256: str) -> bytes:
    """The content of a file whose size and SHA-256 are known, unpacked where its name ends in ``.gz``.

    Raises:
        DataError: it is unreadable, truncated or altered.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            # One byte more than published shows that there is more, however much a damaged .gz would unpack to.
            content = opened.read(size + 1)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends too early.") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: it does not unpack ({error}).") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(content) < size:
        raise DataError(f"{path} is truncated: {len(content)} bytes of content, expected {size}.")
    if len(content) > size:
        raise DataError(f"{path} is not the published file: it has more than the expected {size} bytes.")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{path} is not the published file: SHA-256 of its content is {found}, expected {sha256}.")
    return content
