from pathlib import Path

import pytest

from tieless.data.places import cache, find
from tieless.errors import DataError


@pytest.fixture
def everywhere(small, machine, tmp_path, monkeypatch):
    """Copies in all places: those further on in the order are found as those before them go."""
    named = small.put(tmp_path / "named", small.contents)
    monkeypatch.setenv("TIELESS_DATA", str(named))
    return named, small.put(machine.system / "small", small.contents), small.put(machine.own, small.contents)


def test_places_are_looked_into_in_order(small, everywhere, monkeypatch):
    named, system, own = everywhere
    assert find(small.publication).folder == named
    monkeypatch.delenv("TIELESS_DATA")
    assert find(small.publication).folder == system
    for file in system.iterdir():
        file.unlink()
    assert find(small.publication) == cache(small.publication)
    assert cache(small.publication).folder == own
    for file in own.iterdir():
        file.unlink()
    assert find(small.publication) is None


@pytest.mark.usefixtures("everywhere")
def test_only_the_cache_is_ours(small, monkeypatch):
    assert not find(small.publication).ours
    monkeypatch.delenv("TIELESS_DATA")
    assert not find(small.publication).ours
    assert cache(small.publication).ours


def test_an_empty_variable_is_not_set(small, machine, monkeypatch):
    small.put(machine.own, small.contents)
    monkeypatch.setenv("TIELESS_DATA", "")
    assert find(small.publication).folder == machine.own


def test_the_named_folder_may_hold_a_folder_for_each_data_set(small, tmp_path, monkeypatch):
    small.put(tmp_path / "named" / "small", small.contents, packed=True)
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "named"))
    assert find(small.publication).folder == tmp_path / "named" / "small"
    assert find(small.publication).holds(small.publication)


def test_a_home_in_the_named_folder_is_expanded(small, tmp_path, monkeypatch):
    small.put(tmp_path / "mine", small.contents)
    monkeypatch.setenv("TIELESS_DATA", "~/mine")
    assert find(small.publication).folder == tmp_path / "mine"


@pytest.mark.usefixtures("everywhere")
def test_the_named_folder_is_never_passed_over(small, tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "nowhere"))
    place = find(small.publication)
    assert not place.holds(small.publication)
    with pytest.raises(DataError, match=r"nowhere/train-images-idx3-ubyte is missing.*TIELESS_DATA is set"):
        place.read(small.publication.files[0])


def test_a_place_with_some_of_the_files_is_the_place(small, machine):
    small.put(machine.system / "small", dict(list(small.contents.items())[:3]))
    small.put(machine.own, small.contents)
    place = find(small.publication)
    assert place.folder == machine.system / "small"
    assert not place.holds(small.publication)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is missing.*Reinstall dataset-small"):
        place.read(small.publication.files[3])


def test_a_cache_that_is_not_sound_says_how_to_repair_it(small, machine):
    small.put(machine.own, {**small.contents, "train-labels-idx1-ubyte": b"short"})
    with pytest.raises(DataError, match=r"is truncated: 5 bytes.*Fetch it again: tieless data get small"):
        find(small.publication).read(small.publication.files[1])


def test_a_folder_that_may_not_be_looked_into_is_one_line(small, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", denied)
    with pytest.raises(DataError, match=r"cannot be looked into: Permission denied\.$"):
        find(small.publication)


@pytest.fixture(params=["refused", "left as it is"])
def homeless(request, monkeypatch):
    """A user without a home, as a container's often is: to platformdirs of today, and of some years ago."""

    def cache_path(_):
        if request.param == "refused":
            raise RuntimeError("could not determine the home directory")
        return Path("~/.cache/tieless")

    monkeypatch.setattr("tieless.data.places.user_cache_path", cache_path)
    monkeypatch.delenv("TIELESS_DATA", raising=False)


@pytest.mark.usefixtures("homeless", "machine")
def test_a_user_without_a_home_has_no_cache_and_is_told_where_one_is_needed(small):
    assert find(small.publication) is None
    with pytest.raises(DataError, match=r"^This user has no home folder.*: set HOME, or TIELESS_DATA to a folder"):
        cache(small.publication)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_reads_what_the_system_has(small, machine):
    small.put(machine.system / "small", small.contents)
    assert find(small.publication).folder == machine.system / "small"


def test_a_variable_with_a_home_that_is_not_there_is_told(small, monkeypatch):
    monkeypatch.setenv("TIELESS_DATA", "~no-such-user/data")
    with pytest.raises(DataError, match=r"^This user has no home folder"):
        find(small.publication)
