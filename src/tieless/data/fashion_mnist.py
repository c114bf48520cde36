"""Fashion-MNIST: 70,000 photographs of clothes, 28 x 28 grey pixels, ten classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tieless.data.dataset import Dataset
from tieless.data.debian import DebianPackage
from tieless.data.idx_file import IdxFile
from tieless.data.places import Place, found
from tieless.data.published import Publication
from tieless.data.source import SOURCES, Source
from tieless.data.upstream import Upstream

FASHION_MNIST = Publication(
    name="fashion-mnist",
    files=(
        IdxFile(
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60000,),
            sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10000,),
            sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    suppliers=(
        DebianPackage("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist")),
        Upstream("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
    ),
)
"""Debian's package holds these contents, and so do the published files: with the name and the time that Debian strips
from the gzip headers put back (31 August 2017, 10:50:06 UTC for the training files, 10:50:27 for the others), Debian's
files have the MD5s that the publisher's README gives."""


@SOURCES.register
@dataclass(frozen=True, slots=True)
class FashionMNIST(Source):
    """Photographs of clothes, 28 x 28 grey pixels, ten classes: 60,000 to train on, 10,000 to test.

    The split is the published one: ``seed`` has no effect here.

    Shape:
        x: ``(n, 1, 28, 28)``.
    Raises:
        DataError: the files are not on this machine, or not the published ones.
    Source:
        Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747; https://github.com/zalandoresearch/fashion-mnist, MIT licence.
    """

    name: ClassVar[str] = "fashion-mnist"
    origin: ClassVar[str] = "published files"
    publication: ClassVar[Publication | None] = FASHION_MNIST

    def read(self, seed: int) -> Dataset:
        return read_publication(FASHION_MNIST)


def read_publication(publication: Publication) -> Dataset:
    """Read a publication in the format of MNIST: images and labels to train on, images and labels to test.

    A process reads it once, for as long as it is found in the same place.

    Raises:
        DataError: the files are not on this machine, or not the published ones.
    """
    return _read(publication, found(publication))


@lru_cache(maxsize=1)
def _read(publication: Publication, place: Place) -> Dataset:
    train_x, train_y, test_x, test_y = (place.read(file) for file in publication.files)
    return Dataset(publication.name, _images(train_x), train_y.long(), _images(test_x), test_y.long(), classes=10)


def _images(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).div_(255).unsqueeze(1)
