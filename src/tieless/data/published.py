"""Published files of a data set and their suppliers. Each data set brings its own files and its own suppliers."""

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
"""Function that gets a line of text about everything that takes long."""


class PublishedFile(ABC):
    """Published file as it is stored on this machine, with the one check that every copy passes before it is used.

    Subclasses are ``@dataclass(frozen=True, slots=True)`` with a field ``name``, the file's name.
    """

    __slots__ = ()
    name: str

    @abstractmethod
    def find(self, folder: Path) -> Path | None:
        """Path of the file in ``folder``; ``None`` if it is missing or incomplete."""

    def begun(self, folder: Path) -> bool:
        """True if any part of the file is in ``folder``."""
        return self.find(folder) is not None

    @abstractmethod
    def content(self, folder: Path) -> bytes:
        """Stored content, checked.

        Raises:
            DataError: the file is missing, unreadable, truncated or altered.
        """

    @abstractmethod
    def read(self, folder: Path) -> Tensor:
        """Values in the file, checked: uint8, on the CPU.

        Raises:
            DataError: the same as in ``content``, or the file does not have the expected format.
        """


class Supplier(ABC):
    """Supplier of the files, which may have installed them on this machine already.

    Subclasses are ``@dataclass(frozen=True, slots=True)``.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def title(self) -> str:
        """Name in messages."""

    @property
    def installed(self) -> Path | None:
        """Folder in which the system has the files once they are installed from here; ``None`` without one."""
        return None

    @property
    def repair(self) -> str:
        """Advice for the case that the files in ``installed`` are damaged."""
        return f"Repair what {self.title} has put there"

    @abstractmethod
    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Put the files into ``folder``, as they come: they are checked when read.

        Args:
            publication: Publication to fetch.
            folder: Empty folder to work in; nothing is written outside it.
            tell: Function that gets a line of text about everything that takes long.
        Returns:
            Folder of the files: ``folder``, or one in it.
        Raises:
            DataError: this supplier cannot deliver them.
        """


@dataclass(frozen=True, slots=True)
class Publication:
    """Files of one data set, and their suppliers.

    Args:
        name: Name of the data set.
        files: Files that are stored.
        suppliers: Suppliers, in the order in which they are tried.
    """

    name: str
    files: tuple[PublishedFile, ...]
    suppliers: tuple[Supplier, ...]


def read_checked(path: Path, size: int, sha256: str) -> bytes:
    """Content of a file whose size and SHA-256 are known, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: the file is unreadable, truncated or altered.
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
