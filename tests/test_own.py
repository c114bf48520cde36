"""Code of the user's own: what is imported, by whom it is allowed, and what its hash covers."""

import hashlib
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from tieless import own
from tieless.errors import SpecError

NET = "from torch import nn\nfrom os import system\nclass Net(nn.ReLU):\n    pass\n"


@pytest.fixture(autouse=True)
def _a_process_without_imports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "_LOADED", {})
    monkeypatch.setattr(own, "_REGISTERED", {})
    monkeypatch.setattr(own._MEMORY, "parts", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def write(folder, **sources):
    for name, text in sources.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def refusal(name):
    with pytest.raises(SpecError) as caught:
        own.use(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_object_of_a_named_file_is_found(tmp_path):
    write(tmp_path, net=NET)
    own.use("net.py")
    assert own.find("./net.py", "Net") is own.find(str(tmp_path / "net.py"), "Net")


def test_nothing_is_imported_that_nobody_named(tmp_path):
    write(tmp_path, net="raise SystemExit('it ran')\n")
    with pytest.raises(SpecError, match=r"nobody has allowed to run\. If you trust it: --import net\.py"):
        own.find("net.py", "Net")
    with pytest.raises(SpecError, match="nobody has allowed"):
        own.find("os", "system")  # although it is imported


def test_what_a_named_file_only_imports_cannot_be_called(tmp_path):
    write(tmp_path, net=NET)
    own.use("net.py")
    with pytest.raises(SpecError, match=r"system is no class or function that it defines. There are: Net"):
        own.find("net.py", "system")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(:\n", "net.py, line 1: invalid syntax"),
        ("x = 1\ny = z\n", r"NameError: name 'z' is not defined (net.py, line 2)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (net.py, line 2)"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two (net.py, line 1)"),
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("\0", "net.py"),
        ("from . import other\n", "ImportError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path, source, words):
    write(tmp_path, net=source)
    assert words in refusal("net.py")
    write(tmp_path, net=NET)  # and nothing of it is left
    assert own.use("net.py").module == "net"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.py", "no such file in this folder"),
        ("sub/absent.py", "no such file there"),
        ("absent_module", "no module of this name"),
        ("a b", "expected FILE.py"),
        ("", "expected FILE.py"),
        ("a.b.py", "no such file"),
        ("os.system", "no module of this name"),
    ],
)
def test_a_name_that_is_no_module_is_one_line(name, words):
    assert words in refusal(name)


def test_a_package_in_the_working_folder_is_named_as_a_module_and_its_files_say_so(tmp_path, monkeypatch):
    # As the installed command has it; python -c has the working folder on its path.
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in {"", str(tmp_path)}])
    write(tmp_path, mypack__net=f"from .util import W\n{NET}", mypack__util="W = 4\n")
    (tmp_path / "mypack/__init__.py").write_text("from .net import Net\n", encoding="utf-8")
    assert "Name it as a module of its package: --import mypack.net" in refusal("mypack/net.py")
    assert "Name it as a module: --import mypack" in refusal("mypack/__init__.py")
    write(tmp_path, mypack__inner__deep=f"from ..util import W\n{NET}")
    (tmp_path / "mypack/inner/__init__.py").touch()
    assert "--import mypack.inner.deep" in refusal("mypack/inner/deep.py")
    assert "--import mypack.inner" in refusal("mypack/inner/__init__.py")
    for name in ("mypack.net", "mypack"):
        code = own.use(name)
        assert sorted(part.module for part in code.parts) == ["mypack", "mypack.net", "mypack.util"]
        assert own.find(name, "Net")(inplace=True).inplace
    write(tmp_path, mypack__util="W = 5\n")
    assert own.use("mypack").sha256 != code.sha256
    assert sys.modules["mypack.util"].W == 5


@pytest.mark.parametrize("name", ["random", "yaml", "torch"])
def test_a_file_never_takes_the_place_of_a_module(tmp_path, name):
    write(tmp_path, **{name: ""})
    assert "Rename the file" in refusal(f"{name}.py")


def test_a_helper_never_takes_the_place_of_an_installed_module(tmp_path):
    write(tmp_path, net="import pooch\n", pooch="")
    assert "there are two" in refusal("net.py")


def test_two_helpers_of_one_name_are_not_mistaken(tmp_path):
    write(tmp_path, a__one="import helper\n", a__helper="W = 1\n", b__two="import helper\n", b__helper="W = 2\n")
    own.use("a/one.py")
    assert "another module helper" in refusal("b/two.py")


def test_the_hash_is_that_of_the_sources_and_of_no_folder(tmp_path):
    files = {
        "net": "import helper\ndef late():\n    from pack.deep import X\n    return X\n",
        "helper": "A = 1\n",
        "pack__deep": "from . import near\nX = 2\n",
        "pack__near": "",
        "unused": "B = 3\n",
    }
    hashes = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write(folder, **files)
        code = own.read(str(folder / "net.py"))
        assert [part.module for part in code.parts] == ["net", "helper", "pack", "pack.deep", "pack.near"]
        hashes.append(code.sha256)
    assert hashes[0] == hashes[1]
    for changed in ("net", "helper", "pack__deep", "pack__near"):
        write(tmp_path / "b", **files | {changed: files[changed] + "\n# changed\n"})
        assert own.read(str(tmp_path / "b" / "net.py")).sha256 != hashes[0]
    write(tmp_path / "b", **files | {"unused": "B = 4\n"})
    assert own.read(str(tmp_path / "b" / "net.py")).sha256 == hashes[0]


def test_the_hash_can_be_computed_by_hand(tmp_path):
    write(tmp_path, net=NET)
    by_hand = b"".join(len(text).to_bytes(8, "big") + text for text in (b"net", NET.encode()))
    assert own.read("net.py").sha256 == hashlib.sha256(by_hand).hexdigest()


def test_a_changed_file_is_imported_anew(tmp_path):
    write(tmp_path, net="import helper\nclass Net:\n    w = helper.W\n", helper="W = 1\n")
    first = own.use("net.py")
    write(tmp_path, helper="W = 2\n")
    second = own.use("net.py")
    assert own.find("net.py", "Net").w == 2
    assert first.sha256 != second.sha256
    assert own.use("net.py") == second


def test_code_that_was_sent_runs_where_its_file_is_not(tmp_path):
    write(tmp_path, net="import helper\nclass Net:\n    w = helper.W\n    file = __file__\n", helper="W = 1\n")
    sent = pickle.dumps(own.read("net.py"))
    (tmp_path / "helper.py").write_text("W = 2\n", encoding="utf-8")
    (tmp_path / "net.py").unlink()
    program = (
        "import pickle, sys; from tieless import own; own.load(pickle.loads(sys.stdin.buffer.read()));"
        " import inspect; net = own.find('net.py', 'Net'); print(net.w, inspect.getsource(net).count('class Net'))"
    )
    ran = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.split() == [b"1", b"1"]


def test_a_module_is_found_on_the_path(tmp_path, monkeypatch):
    write(tmp_path, mine____init__="raise SystemExit('only to look')\n", mine__nets="class Net: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [part.module for part in own.read("mine.nets").parts] == ["mine.nets"]
    write(tmp_path, mine____init__="")
    own.use("mine.nets")
    assert own.find("mine.nets", "Net").__module__ == "mine.nets"


@given(text=st.text(max_size=30))
def test_a_spec_of_any_text_is_split_or_is_none(text):
    parts = own.split(text)
    if parts is not None:
        code, made = parts
        assert code
        assert own.split(f"{code}:{made}") == (code, made)


@given(
    code=st.sampled_from(["net.py", "a/net.py", "../net.py", "mine.nets", "my net.py"]),
    made=st.sampled_from(["Net", "Net()", "Net(1, b='x:y')", "_n(a=1)"]),
)
def test_the_parts_of_a_spec_are_its_parts(code, made):
    assert own.split(f"{code}:{made}") == (code, made)
