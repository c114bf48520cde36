"""A small publication made like MNIST's, a machine without any data, and ways to put copies on it."""

import gzip
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tieless.data.debian import DebianPackage
from tieless.data.idx_file import IdxFile
from tieless.data.published import Publication
from tieless.data.upstream import Upstream

SHAPES = {
    "train-images-idx3-ubyte": (50, 4, 4),
    "train-labels-idx1-ubyte": (50,),
    "t10k-images-idx3-ubyte": (20, 4, 4),
    "t10k-labels-idx1-ubyte": (20,),
}


def encode(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def put(folder: Path, contents: Mapping[str, bytes], *, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Folders of a machine on which nothing was ever fetched; programs are found in ``machine.programs`` alone."""
    folders = SimpleNamespace(cache=tmp_path / "cache", system=tmp_path / "system", programs=tmp_path / "programs")
    folders.programs.mkdir()
    monkeypatch.delenv("TIELESS_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folders.cache))
    monkeypatch.setenv("PATH", str(folders.programs))
    monkeypatch.setenv("NO_PROXY", "*")
    folders.own = folders.cache / "tieless" / "data" / "small"
    return folders


@pytest.fixture
def small(machine):
    """A publication of seven kilobytes and its arrays and contents; nothing listens at its address."""
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 10 if len(s) == 1 else 256, s, np.uint8) for name, s in SHAPES.items()}
    contents = {name: encode(array) for name, array in arrays.items()}
    files = tuple(
        IdxFile(name, SHAPES[name], hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    )
    suppliers = (DebianPackage("dataset-small", machine.system / "small"), Upstream("http://127.0.0.1:9"))
    publication = Publication("small", files, suppliers)
    return SimpleNamespace(publication=publication, arrays=arrays, contents=contents, put=put, encode=encode)
