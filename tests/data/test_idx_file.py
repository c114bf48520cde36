import gzip
import hashlib

import numpy as np
import pytest

from tieless.data.idx_file import IdxFile
from tieless.errors import DataError

LABELS = "train-labels-idx1-ubyte"
# Of a gzip header: a flag that nobody uses, the time, how hard was tried, the system.
HEADER_WITHOUT_MEANING = range(3, 10)


@pytest.fixture
def labels(small):
    return small.publication.files[1]


@pytest.fixture
def content(small):
    return small.contents[LABELS]


def assert_refused(file, folder, *parts):
    with pytest.raises(DataError) as refused:
        file.read(folder)
    assert "\n" not in str(refused.value)
    assert [part for part in (str(folder / file.name), *parts) if part not in str(refused.value)] == []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_sound_file_is_read(small, tmp_path, packed):
    folder = small.put(tmp_path / "data", small.contents, packed=packed)
    for file in small.publication.files:
        assert np.array_equal(file.read(folder).numpy(), small.arrays[file.name])


def test_the_plain_file_goes_first(labels, content, tmp_path):
    (tmp_path / LABELS).write_bytes(content)
    (tmp_path / f"{LABELS}.gz").write_bytes(b"not even packed")
    assert labels.content(tmp_path) == content


def test_a_missing_file_is_refused(labels, tmp_path):
    assert_refused(labels, tmp_path, "is missing, with or without .gz")


@pytest.mark.parametrize("keep", [0, 3, 20, 57])
def test_a_truncated_file_is_refused(labels, content, tmp_path, keep):
    (tmp_path / LABELS).write_bytes(content[:keep])
    assert_refused(labels, tmp_path, "is truncated", f"{keep} bytes", "expected 58")


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_truncated_gz_is_refused(labels, content, tmp_path, keep):
    (tmp_path / f"{LABELS}.gz").write_bytes(gzip.compress(content)[:keep])
    assert_refused(labels, tmp_path, "is truncated")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("position", [0, 7, 8, 57])
def test_one_altered_byte_is_refused(small, labels, content, tmp_path, packed, position):
    altered = bytearray(content)
    altered[position] ^= 1
    small.put(tmp_path, {LABELS: bytes(altered)}, packed=packed)
    expected = hashlib.sha256(content).hexdigest()
    assert_refused(labels, tmp_path, "not the published file", hashlib.sha256(altered).hexdigest(), expected)


def test_more_bytes_than_published_are_refused(small, labels, content, tmp_path):
    small.put(tmp_path, {LABELS: content + b"\x00"}, packed=True)
    assert_refused(labels, tmp_path, "more than the expected 58 bytes")


@pytest.mark.parametrize("position", range(30))
def test_a_damaged_gz_never_gives_other_content(labels, content, tmp_path, position):
    packed = bytearray(gzip.compress(content))
    packed[position] ^= 0x40
    (tmp_path / f"{LABELS}.gz").write_bytes(packed)
    if position in HEADER_WITHOUT_MEANING:
        assert labels.content(tmp_path) == content
    else:
        assert_refused(labels, tmp_path)


def test_a_gz_that_is_none_is_refused(labels, tmp_path):
    (tmp_path / f"{LABELS}.gz").write_bytes(b"<html>moved</html>")
    assert_refused(labels, tmp_path, "is damaged: it does not unpack")


def test_a_file_that_cannot_be_opened_is_refused(labels, content, tmp_path, monkeypatch):
    (tmp_path / LABELS).write_bytes(content)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)
    assert_refused(labels, tmp_path, "cannot be read: Permission denied")


def test_published_content_must_be_idx_of_the_published_shape(content, tmp_path):
    wrong = b"\x00\x00\x0d\x01" + content[4:]
    (tmp_path / LABELS).write_bytes(wrong)
    file = IdxFile(LABELS, (50,), hashlib.sha256(wrong).hexdigest())
    assert_refused(file, tmp_path, "magic number 0x00000d01, expected 0x00000801")
