"""IDX file that is published, plain or compressed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tieless.data.idx import header_size, parse_idx
from tieless.data.published import PublishedFile, read_checked
from tieless.errors import DataError


@dataclass(frozen=True, slots=True)
class IdxFile(PublishedFile):
    """IDX file, with or without ``.gz``. It is stored unpacked, which loads five times faster.

    Args:
        name: File name without ``.gz``.
        shape: Dimensions.
        sha256: Hash of the uncompressed content. Copies are compressed differently (Debian's lack the name and the time
            in the gzip header), so only this hash can be compared between sources.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Size in bytes, uncompressed."""
        return header_size(len(self.shape)) + math.prod(self.shape)

    def find(self, folder: Path) -> Path | None:
        """Path of the file in ``folder``, plain or with ``.gz``, the plain one first: it is read faster."""
        for path in (folder / self.name, folder / f"{self.name}.gz"):
            if path.is_file():
                return path
        return None

    def content(self, folder: Path) -> bytes:
        path = self.find(folder)
        if path is None:
            raise DataError(f"{folder / self.name} is missing, with or without .gz.")
        return read_checked(path, self.size, self.sha256)

    def read(self, folder: Path) -> Tensor:
        content = self.content(folder)
        try:
            return parse_idx(content, self.shape)
        except ValueError as error:
            raise DataError(f"{self.find(folder)} is not the published IDX file: {error}.") from None
