"""Every source for real: programs named apt-get and dpkg-deb, and an HTTP server on this machine."""

import gzip
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tieless.data.acquire import acquire
from tieless.data.upstream import Upstream
from tieless.errors import DataError

LABELS = "train-labels-idx1-ubyte"


def contents_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def install_apt(machine, package, *, lists=True, network=True):
    """An apt-get that has the folder ``package`` to give; without ``lists`` only after an update into private ones.

    Its "archive" is a note of where that folder lies, and dpkg-deb -x copies what the note says.
    """
    machine.program(
        "apt-get",
        f"""
options = [value for key, value in zip(sys.argv, sys.argv[1:]) if key == "-o"]
lists = [o.partition("=")[2] for o in options if o.startswith("Dir::State::lists=")]
fresh = pathlib.Path(lists[0], "fresh") if lists else None
if "update" in sys.argv:
    if {network}:
        fresh.touch()
    else:
        print("W: Failed to fetch http://deb.example/InRelease  Temporary failure resolving", file=sys.stderr)
elif {lists} or (fresh and fresh.exists()):
    pathlib.Path(sys.argv[-1] + "_1_all.deb").write_text({str(package)!r})
else:
    print("W: noise\\nE: Unable to locate package " + sys.argv[-1], file=sys.stderr)
    sys.exit(100)
""",
    )
    machine.program(
        "dpkg-deb", "shutil.copytree(pathlib.Path(sys.argv[2]).read_text(), sys.argv[3], dirs_exist_ok=True)"
    )


@pytest.fixture
def package(small, machine, tmp_path):
    """Files of Debian's package of the publication."""
    root = tmp_path / "package"
    small.put(root / (machine.system / "small").relative_to("/"), small.contents, packed=True)
    return root


class Server(BaseHTTPRequestHandler):
    def __init__(self, served, *args):
        self.served = served
        super().__init__(*args)

    def do_GET(self):
        body, promised = self.served.get(self.path, (None, 0))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream(small):
    """A server that serves the publication; ``served`` maps a path to a body and the length that is promised."""
    served = {f"/{name}.gz": (gzip.compress(c), len(gzip.compress(c))) for name, c in small.contents.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, served))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    debian, _ = small.publication.suppliers
    suppliers = debian, Upstream(f"http://127.0.0.1:{server.server_port}")
    small.publication = replace(small.publication, suppliers=suppliers)
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def told():
    return []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_from_copies_into_the_cache(small, machine, tmp_path, told, packed):
    source = small.put(tmp_path / "usb", small.contents, packed=packed)
    before = contents_of(source)
    assert acquire(small.publication, source, told.append) == machine.own
    assert contents_of(machine.own) == small.contents
    assert contents_of(source) == before
    assert told == []


def test_from_a_folder_with_an_altered_file_leaves_the_cache_alone(small, machine, tmp_path, told):
    small.put(machine.own, {"precious": b"1"})
    altered = small.contents[LABELS][:-1] + b"\x63"
    source = small.put(tmp_path / "usb", {**small.contents, LABELS: altered})
    with pytest.raises(DataError, match=rf"usb/{LABELS} is not the published file.*Give --from a folder"):
        acquire(small.publication, source, told.append)
    assert contents_of(machine.own) == {"precious": b"1"}


def test_from_a_folder_that_does_not_exist(small, tmp_path, told):
    with pytest.raises(DataError, match=r"nowhere/train-images-idx3-ubyte is missing.*Give --from a folder"):
        acquire(small.publication, tmp_path / "nowhere", told.append)


def test_from_and_the_variable_contradict_each_other(small, tmp_path, monkeypatch, told):
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"TIELESS_DATA is set and would be read instead of what --from .* gives"):
        acquire(small.publication, small.put(tmp_path / "usb", small.contents), told.append)


def test_the_variable_is_used_as_it_lies(small, machine, tmp_path, monkeypatch, told):
    named = small.put(tmp_path / "named", small.contents, packed=True)
    monkeypatch.setenv("TIELESS_DATA", str(named))
    assert acquire(small.publication, None, told.append) == named
    assert not machine.cache.exists()


def test_the_variable_without_the_data_is_not_fetched_around(small, machine, package, tmp_path, monkeypatch, told):
    install_apt(machine, package)
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="TIELESS_DATA is set: put the published files of small there, or unset it"):
        acquire(small.publication, None, told.append)
    assert not machine.cache.exists()


def test_the_systems_folder_is_used_as_it_lies(small, machine, told):
    system = small.put(machine.system / "small", small.contents, packed=True)
    assert acquire(small.publication, None, told.append) == system
    assert not machine.cache.exists()


def test_a_damaged_system_folder_is_neither_used_nor_touched(small, machine, package, told):
    install_apt(machine, package)
    system = small.put(machine.system / "small", {**small.contents, LABELS: b""})
    with pytest.raises(DataError, match=r"is truncated: 0 bytes.*Reinstall dataset-small"):
        acquire(small.publication, None, told.append)
    assert contents_of(system)[LABELS] == b""


def test_a_sound_cache_is_not_fetched_again(small, machine, told):
    small.put(machine.own, small.contents)
    assert acquire(small.publication, None, told.append) == machine.own
    assert told == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_cache_is_replaced(small, machine, package, told, damage):
    install_apt(machine, package)
    small.put(machine.own, small.contents)
    damaged = machine.own / LABELS
    if damage == "missing":
        damaged.unlink()
    else:
        damaged.write_bytes(b"" if damage == "truncated" else bytes(len(small.contents[LABELS])))
    assert acquire(small.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == small.contents
    assert str(damaged) in told[0]
    assert told[0].endswith("Fetching all of it again ...")


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "no lists"])
def test_debians_package_is_unpacked_into_the_cache(small, machine, package, told, lists):
    install_apt(machine, package, lists=lists)
    assert acquire(small.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == small.contents
    assert [line for line in told if "package lists" in line] == told[1:]
    assert len(told) == (1 if lists else 2)


@pytest.mark.usefixtures("upstream")
def test_upstream_comes_last(small, machine, told):
    assert acquire(small.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == small.contents
    assert told == [f"Downloading small from {small.publication.suppliers[1].address} ..."]


@pytest.mark.usefixtures("upstream")
def test_an_altered_package_is_passed_over_for_upstream(small, machine, package, told):
    small.put(package / (machine.system / "small").relative_to("/"), {LABELS: bytes(58)})
    install_apt(machine, package)
    assert acquire(small.publication, None, told.append) == machine.own
    assert contents_of(machine.own) == small.contents
    assert len(told) == 2


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        pytest.param(None, "could not be downloaded (404 Client Error", id="absent"),
        pytest.param((b"<html>", 6), "is damaged: it does not unpack", id="a web page"),
        pytest.param((gzip.compress(bytes(58)), len(gzip.compress(bytes(58)))), "not the published file", id="altered"),
        pytest.param((gzip.compress(bytes(58))[:9], 9), "is truncated", id="truncated"),
        pytest.param((b"\x1f\x8b", 99), "could not be downloaded (IncompleteRead", id="broken off"),
    ],
)
def test_a_download_that_is_not_sound_never_reaches_the_cache(small, machine, upstream, told, served, reason):
    path = f"/{LABELS}.gz"
    if served is None:
        del upstream[path]
    else:
        upstream[path] = served
    with pytest.raises(DataError) as refused:
        acquire(small.publication, None, told.append)
    assert f"{LABELS}.gz" in str(refused.value)
    assert reason in str(refused.value)
    assert contents_of(machine.own) == {}


def test_without_any_source_every_one_is_named_with_its_reason(small, machine, package, told):
    install_apt(machine, package, lists=False, network=False)
    with pytest.raises(DataError) as refused:
        acquire(small.publication, None, told.append)
    line = str(refused.value)
    assert "\n" not in line
    parts = [
        "small cannot be had",
        "TIELESS_DATA: not set",
        f"{machine.system}/small: not there",
        f"{machine.own}: not there",
        "Debian's dataset-small: E: Unable to locate package dataset-small",
        "W: Failed to fetch http://deb.example/InRelease Temporary failure resolving",
        "http://127.0.0.1:9: train-images-idx3-ubyte.gz could not be downloaded ([Errno 111] Connection refused)",
        "tieless data get small --from DIR",
    ]
    assert [part for part in parts if part not in line] == []
    assert contents_of(machine.own) == {}


def test_a_machine_without_apt_says_so(small, told):
    with pytest.raises(DataError, match="Debian's dataset-small: apt-get is not installed; http://"):
        acquire(small.publication, None, told.append)


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_fetched(small, machine, package, told):
    install_apt(machine, package)
    machine.cache.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cache/tieless/data/small cannot be written: Not a directory\.$"):
        acquire(small.publication, None, told.append)
    assert told == []


@pytest.mark.parametrize("whole", range(4))
def test_an_interrupted_write_leaves_only_whole_files(small, machine, tmp_path, monkeypatch, told, whole):
    source = small.put(tmp_path / "usb", small.contents)
    writes = iter(range(99))

    def filling_disk(path, content):
        full = next(writes) == whole
        with path.open("wb") as opened:
            opened.write(content[:10] if full else content)
        if full:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", filling_disk)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        acquire(small.publication, source, told.append)
    left = contents_of(machine.own)
    assert left == {name: small.contents[name] for name in left}
    assert len(left) == whole
