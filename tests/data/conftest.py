"""Small publications made like MNIST's and like Brown's, a machine without any data, and ways to put copies on it."""

import gzip
import hashlib
import stat
import struct
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tieless.data.debian import DebianPackage
from tieless.data.idx_file import IdxFile
from tieless.data.npm import NpmPackage
from tieless.data.published import Publication
from tieless.data.tagged import TaggedTexts
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


def write_program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, pathlib, shutil, sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


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
    folders.program = partial(write_program, folders.programs)
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


@pytest.fixture
def corpus(machine):
    """Twenty-three documents in the layout of the Brown corpus, each with a letter of its own, and their plain texts."""
    names = tuple(f"c{genre}{number:02}" for genre, count in (("a", 14), ("b", 9)) for number in range(1, count + 1))
    texts, tagged = {}, {}
    for place, name in enumerate(names):
        letter = chr(ord("A") + place)
        words = [letter * length for length in (1, 4, 2, 1 + place % 7, 3)]
        texts[name] = f"{' '.join(words)} .\n`` {letter} 1/2 '' ;\n" * 3
        sentence = "".join(f" {word}/nn-tl" for word in words)
        content = f"\n\n\t{sentence[1:]} ./.\n\n\n\t``/`` {letter}/np$ 1/2/cd ''/'' ;/.\n" * 3
        tagged[name] = content.encode()
    lines = "".join(f"{hashlib.sha256(tagged[name]).hexdigest()}  {name}\n" for name in names)
    kept = "\f".join(texts.values()).encode()
    file = TaggedTexts(
        "small.txt",
        names,
        tagged_size=sum(map(len, tagged.values())),
        tagged_sha256=hashlib.sha256(lines.encode()).hexdigest(),
        size=len(kept),
        sha256=hashlib.sha256(kept).hexdigest(),
    )
    publication = Publication("small", (file,), (NpmPackage("small-corpus", "1.2.3"),))
    return SimpleNamespace(publication=publication, file=file, texts=texts, tagged=tagged, kept=kept, put=put)
