"""Files written whole: regular ones are replaced, all else is written to."""

import os
import stat
import threading
from pathlib import Path

import pytest

from tieless._files import is_file, write_whole


def test_a_file_is_made_or_replaced_and_keeps_its_permissions(tmp_path):
    file = tmp_path / "table.csv"
    write_whole(file, b"one")
    mask = os.umask(0)
    os.umask(mask)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"one", 0o666 & ~mask)
    file.chmod(0o640)
    write_whole(file, b"two")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"two", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_the_longest_name_that_a_file_can_have_is_written(tmp_path):
    file = tmp_path / ("n" * 255)
    write_whole(file, b"long")
    assert file.read_bytes() == b"long"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(tmp_path, there):
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe, content = tmp_path / "pipe", os.urandom(300_000)
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, content)
    reader.join()
    assert read == [content]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays_a_device():
    write_whole(Path(os.devnull), b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_device_is_an_error():
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(Path("/dev/full"), b"more")


def test_a_folder_is_an_error_and_stays(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"content")
    assert tmp_path.is_dir()


def test_what_was_there_stays_where_the_rest_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"old")]


def test_a_name_that_no_file_can_have_names_none(tmp_path):
    assert not is_file(tmp_path / ("n" * 300))
    assert not is_file(tmp_path)
