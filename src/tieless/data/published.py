"""Published files: what each must be, and the one check that every copy passes before it is used."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tieless.data.idx import header_size, parse_idx
from tieless.errors import DataError

__all__ = ["Publication", "PublishedFile", "read_content", "read_published"]


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One IDX file.

    Args:
        name: Its name without ``.gz``.
        shape: Its dimensions.
        sha256: Of the uncompressed content. Copies are compressed differently (Debian's lack the name and the time
            in the gzip header), so only this can be compared between sources.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return header_size(len(self.shape)) + math.prod(self.shape)

    def find(self, folder: Path) -> Path | None:
        """The file in ``folder``, plain or with ``.gz``, the plain one first: it is read faster."""
        for path in (folder / self.name, folder / f"{self.name}.gz"):
            if path.is_file():
                return path
        return None


@dataclass(frozen=True, slots=True)
class Publication:
    """The files of one data set, and where they can be had.

    Args:
        name: Of the data set.
        files: What it consists of.
        system: The folder into which the system's package puts it.
        package: Debian's package.
        upstream: The address below which its publisher serves each file with ``.gz``.
    """

    name: str
    files: tuple[PublishedFile, ...]
    system: Path
    package: str
    upstream: str


def read_content(file: PublishedFile, folder: Path) -> bytes:
    """The uncompressed content of ``file`` in ``folder``, checked.

    Raises:
        DataError: it is missing, unreadable, truncated or altered.
    """
    path = file.find(folder)
    if path is None:
        raise DataError(f"{folder / file.name} is missing, with or without .gz.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            # One byte more than published shows that there is more, however much a damaged .gz would unpack to.
            content = opened.read(file.size + 1)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends too early.") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: it does not unpack ({error}).") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(content) < file.size:
        raise DataError(f"{path} is truncated: {len(content)} bytes of content, expected {file.size}.")
    if len(content) > file.size:
        raise DataError(f"{path} is not the published file: it has more than the expected {file.size} bytes.")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{path} is not the published file: SHA-256 of its content is {found}, expected {file.sha256}.")
    return content


def read_published(file: PublishedFile, folder: Path) -> Tensor:
    """The values in ``file`` of ``folder``, checked: uint8, on the CPU.

    Raises:
        DataError: as ``read_content``, or the content is no IDX file of the published shape.
    """
    content = read_content(file, folder)
    try:
        return parse_idx(content, file.shape)
    except ValueError as error:
        raise DataError(f"{file.find(folder)} is not the published IDX file: {error}.") from None
