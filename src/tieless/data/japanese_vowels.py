"""Japanese Vowels: two vowels in a row by nine speakers, to tell the speaker by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tieless.data.dataset import Dataset
from tieless.data.places import Place, found
from tieless.data.published import Publication, PublishedFile, read_checked
from tieless.data.pypi import PyPIWheel
from tieless.data.source import SOURCES, Source
from tieless.errors import DataError

_MARK = "@data"


@dataclass(frozen=True, slots=True)
class SeriesFile(PublishedFile):
    """Text of labelled series in the format ``.ts``: below ``@data`` one sample a line.

    A line has the channels, each a list of numbers, and the label, separated by colons.

    Args:
        name: Name of the file.
        size, sha256: Size and hash of its content.
    """

    name: str
    size: int
    sha256: str

    def find(self, folder: Path) -> Path | None:
        path = folder / self.name
        return path if path.is_file() else None

    def content(self, folder: Path) -> bytes:
        path = folder / self.name
        if not path.is_file():
            raise DataError(f"{path} is missing.")
        return read_checked(path, self.size, self.sha256)

    def read(self, folder: Path) -> Tensor:
        """Bytes of the text."""
        return torch.frombuffer(bytearray(self.content(folder)), dtype=torch.uint8)


VOWELS = Publication(
    name="japanese-vowels",
    files=(
        SeriesFile(
            "JapaneseVowels_TRAIN.ts", 487971, "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"
        ),
        SeriesFile(
            "JapaneseVowels_TEST.ts", 649132, "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"
        ),
    ),
    suppliers=(PyPIWheel("sktime", "1.2.0", "sktime/datasets/data/JapaneseVowels"),),
)
"""Files that sktime and aeon have in their wheels."""


@SOURCES.register
@dataclass(frozen=True, slots=True)
class JapaneseVowels(Source):
    """Twelve cepstral coefficients over 7 to 29 moments of speech, by nine speakers: 270 samples to train on, 370 to test.

    Numbers are those that were published; what is shorter than 29 has zeros behind it. ``seed`` has no effect here.

    Shape:
        x: ``(n, 12, 29)``.
    Raises:
        DataError: the files are not on this machine, or not the published ones.
    Source:
        Kudo, Toyama and Shimbo 1999, doi:10.1016/S0167-8655(99)00077-X; UCI's archive, doi:10.24432/C5NS47.
    """

    name: ClassVar[str] = "japanese-vowels"
    origin: ClassVar[str] = "published files"
    publication: ClassVar[Publication | None] = VOWELS

    def read(self, seed: int) -> Dataset:
        return read_series(VOWELS)


def read_series(publication: Publication) -> Dataset:
    """Read a publication of two files of series, one to train on and one to test, padded to one length.

    Raises:
        DataError: a file is not on this machine, or not the published one.
    """
    return _read(publication, found(publication))


@lru_cache(maxsize=4)
def _read(publication: Publication, place: Place) -> Dataset:
    training, testing = (_samples(place.read(file).numpy().tobytes().decode("ascii")) for file in publication.files)
    longest = max(len(channel) for channels, _ in (*training, *testing) for channel in channels)
    labels = sorted({label for _, label in training})
    parts = [_tensors(samples, longest, labels) for samples in (training, testing)]
    return Dataset(publication.name, *parts[0], *parts[1], classes=len(labels))


def _samples(text: str) -> list[tuple[list[list[float]], str]]:
    """Channels and label of each sample."""
    lines = text.partition(_MARK)[2].split()
    found = (line.split(":") for line in lines)
    return [([[float(number) for number in channel.split(",")] for channel in parts], label) for *parts, label in found]


def _tensors(samples: list[tuple[list[list[float]], str]], longest: int, labels: list[str]) -> tuple[Tensor, Tensor]:
    padded = [[channel + [0.0] * (longest - len(channel)) for channel in channels] for channels, _ in samples]
    return torch.tensor(padded), torch.tensor([labels.index(label) for _, label in samples])
