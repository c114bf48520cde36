import re

import pytest
from click.testing import CliRunner

from tieless.cli import main
from tieless.data.fashion_mnist import FASHION_MNIST


@pytest.fixture
def tieless(tmp_path, monkeypatch):
    """The command on a machine without data, without apt and with nothing at the publisher's address."""
    monkeypatch.delenv("TIELESS_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(main, ["data", *arguments])


def assert_refused(result, complaint):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.fullmatch(f"Error: [^\n]*{complaint}[^\n]*\n", result.stderr), result.stderr


def test_list_says_where_each_lies(tieless):
    result = tieless("list")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [name for name, _ in lines] == ["brown", "digits", "fashion-mnist", "japanese-vowels", "mnist1d", "ones"]
    if not FASHION_MNIST.suppliers[0].installed.exists():
        assert lines[2][1] == "not here: tieless data get fashion-mnist"


def test_list_names_the_folder(tieless, tmp_path, monkeypatch):
    for file in FASHION_MNIST.files:
        (tmp_path / file.name).touch()
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path))
    assert f"fashion-mnist   {tmp_path}\n" in tieless("list").stdout


@pytest.mark.parametrize("name", ["digits", "ones", "ones(d=64)"])
def test_get_what_needs_no_files(tieless, name):
    result = tieless("get", name)
    assert (result.exit_code, result.stdout) == (0, f"{name} needs no files.\n")


def test_get_what_does_not_exist(tieless):
    assert_refused(
        tieless("get", "mnist"),
        "Unknown data set 'mnist'.*There are: brown, digits, fashion-mnist, japanese-vowels, mnist1d, ones",
    )


def test_get_from_a_folder_without_the_files(tieless, tmp_path):
    missing = re.escape(str(tmp_path / "train-images-idx3-ubyte"))
    assert_refused(tieless("get", "fashion-mnist", "--from", str(tmp_path)), f"{missing} is missing.*Give --from")


def test_get_an_altered_file(tieless, tmp_path, monkeypatch):
    for file in FASHION_MNIST.files:
        (tmp_path / file.name).write_bytes(bytes(file.size))
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path))
    expected = FASHION_MNIST.files[0].sha256
    assert_refused(tieless("get", "fashion-mnist"), f"not the published file.*expected {expected}.*TIELESS_DATA is set")
