"""Texts in which each word has a tag, one file per document, as the Brown corpus is distributed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tieless.data.published import PublishedFile, read_checked
from tieless.errors import DataError

SEPARATOR = "\f"
"""Separator between two documents in the stored file. No document has it."""


@dataclass(frozen=True, slots=True)
class TaggedTexts(PublishedFile):
    """Documents, each in a file of its own, stored together as one file of plain text.

    A folder may have the documents as they are distributed, or the stored file.

    Args:
        name: Name of the stored file.
        documents: Names of the files, in the order in which they are stored.
        tagged_size: Number of bytes of all documents together, as they are distributed.
        tagged_sha256: Hash of the lines that ``sha256sum`` prints for them, in this order.
        size, sha256: Size and hash of the stored file.
    """

    name: str
    documents: tuple[str, ...]
    tagged_size: int
    tagged_sha256: str
    size: int
    sha256: str

    def find(self, folder: Path) -> Path | None:
        """Path of the stored file, or of the first document if all exist."""
        if (folder / self.name).is_file():
            return folder / self.name
        paths = [folder / document for document in self.documents]
        return paths[0] if all(path.is_file() for path in paths) else None

    def begun(self, folder: Path) -> bool:
        return any((folder / name).is_file() for name in (self.name, *self.documents))

    def content(self, folder: Path) -> bytes:
        kept = folder / self.name
        if kept.is_file():
            return read_checked(kept, self.size, self.sha256)
        return SEPARATOR.join(map(untagged, self._distributed(folder))).encode("ascii")

    def read(self, folder: Path) -> Tensor:
        """Characters of the text, ``SEPARATOR`` between documents."""
        # A copy, as a tensor must be writable and bytes are not.
        return torch.frombuffer(bytearray(self.content(folder)), dtype=torch.uint8)

    def _distributed(self, folder: Path) -> Sequence[str]:
        """Documents with their tags, checked."""
        missing = [document for document in self.documents if not (folder / document).is_file()]
        if missing:
            others = f", and {len(missing) - 1} more of the {len(self.documents)} documents" if len(missing) > 1 else ""
            raise DataError(f"{folder / missing[0]} is missing{others}.")
        size = sum((folder / document).stat().st_size for document in self.documents)
        if size != self.tagged_size:
            raise DataError(
                f"The {len(self.documents)} documents in {folder} are not the published ones: "
                f"{size} bytes together, expected {self.tagged_size}."
            )
        contents = [_bytes(folder / document) for document in self.documents]
        lines = (
            f"{hashlib.sha256(content).hexdigest()}  {document}\n"
            for document, content in zip(self.documents, contents, strict=True)
        )
        found = hashlib.sha256("".join(lines).encode()).hexdigest()
        if found != self.tagged_sha256:
            raise DataError(
                f"The {len(self.documents)} documents in {folder} are not the published ones: "
                f"SHA-256 of all is {found}, expected {self.tagged_sha256}."
            )
        return [content.decode("ascii") for content in contents]


def untagged(text: str) -> str:
    r"""Words of a tagged text, without their tags.

    The text after the last ``/`` of each token is its tag. The words of a line are joined by single spaces and end in a
    newline; lines without any are dropped. Punctuation stays the token that it is, with a space before it.

    Example:
        >>> from tieless.data.tagged import untagged
        >>> untagged("\n\n\tThe/at jury/nn said/vbd 1/2/cd ./.\n\n")
        'The jury said 1/2 .\n'
    """
    lines = ([token.rpartition("/")[0] for token in line.split()] for line in text.splitlines())
    return "".join(f"{' '.join(words)}\n" for words in lines if words)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
