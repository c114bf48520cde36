"""First calls: kernels from files that are damaged or cannot be written, and under a profiler. Each in a process of its own."""

import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tieless.kernels import code_loops, loops, numba_cpu, time_loops


@pytest.mark.parametrize("module", [loops, code_loops, time_loops], ids=["loops", "code_loops", "time_loops"])
def test_the_digest_of_a_kernel_is_of_every_file_that_it_is_compiled_from(module):
    """Code of an older file would be loaded where one is forgotten, and more be compiled anew where one is too many."""
    names, files = [module.__name__], set()
    for name in names:
        file = Path(importlib.import_module(name).__file__)
        files.add(file)
        imported = re.findall(r"^from (tieless\.[\w.]+) import", file.read_text(encoding="utf-8"), re.MULTILINE)
        names += [name for name in imported if name not in names]
    assert files == set(numba_cpu._made_from(module.__name__))


LOOP = """
from numba import carray

def write(place):
    carray(place, 1)[0] = 7
"""

CACHE = '''
import ctypes, json, os, resource, sys
from pathlib import Path
from numba import types
from loop import write
from tieless.kernels.callbacks import address_of

def written(kind=types.int64, number=ctypes.c_int64):
    """What the loop writes, compiled or loaded."""
    value = number(0)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address_of(write, types.CPointer(kind)))(ctypes.byref(value))
    return value.value

def files():
    return sorted(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nb?"))
'''


def _run(program, folder, **environment):
    """The last line that a program prints in a process with an empty cache, as JSON."""
    (folder / "loop.py").write_text(LOOP)
    variables = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    words = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(words, env=variables | environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


PROGRAM = """
found = {"first": [written(), len(files())]}
(path,) = files()
whole = path.read_bytes()
damaged = {
    "empty": b"", "one byte": whole[:1], "cut": whole[:100], "cut in the middle": whole[: len(whole) // 2],
    "without its end": whole[:-1], "longer": whole + b"0", "zeros": bytes(len(whole)), "text": b"<html></html>" * 99,
    "one byte differs": whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:],
}
for what, content in damaged.items():
    path.write_bytes(content)
    value, mended = written(), path.read_bytes()
    again = written(), path.read_bytes()
    found[what] = [value, mended != content, again == (7, mended)]

path.unlink()
path.mkdir()
found["a folder"] = [written(), path.is_dir(), written() == 7]
path.rmdir()

found["another type"] = [written(types.float64, ctypes.c_double), written(), len(files())]
files()[0].unlink()
found["one is gone"] = [written(types.float64, ctypes.c_double), written(), len(files())]

for one in files():
    one.unlink()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
left = [written(), len([one for one in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*") if one.is_file()])]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
found["a full disk"] = [*left, written(), len(files())]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Observations of one process, which takes seconds to start."""
    pytest.importorskip("resource")
    return _run(CACHE + PROGRAM, tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize(
    "what",
    ["empty", "one byte", "cut", "cut in the middle", "without its end", "longer", "zeros", "text", "one byte differs"],
)
def test_a_damaged_file_is_compiled_anew_and_mended(found, what):
    assert found["first"] == [7, 1]
    assert found[what] == [7, True, True]


def test_a_file_that_cannot_be_read_or_replaced_costs_nothing_else(found):
    assert found["a folder"] == [7, True, True]


def test_kernels_of_two_types_have_a_file_each(found):
    """None has a number that another process might give to another kernel."""
    assert found["another type"] == found["one is gone"] == [7, 7, 2]


def test_a_full_disk_costs_the_file_and_not_the_kernel(found):
    assert found["a full disk"] == [7, 0, 7, 1]


def test_where_no_folder_can_be_written_each_process_compiles(tmp_path):
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "__pycache__").touch()
    found = _run(
        CACHE + "\nprint(json.dumps([written(), written()]))",
        tmp_path,
        NUMBA_CACHE_DIR=str(file),
        XDG_CACHE_HOME=str(file),
        HOME=str(file),
    )
    assert found == [7, 7]


def test_a_first_call_under_the_profiler_leaves_a_profile_that_can_be_read(tmp_path):
    """All that is imported and compiled runs while the profiler keeps addresses of names."""
    program = f"""
    import json
    import torch
    from pathlib import Path
    from torch.profiler import ProfilerActivity, profile
    from tieless import untie
    z = torch.linspace(-1, 1, 100, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], with_stack=True) as found:
        untie(z, "heaviside", "constant").sum().backward()
    names = {{event.name for event in found.events()}}
    trace = Path({str(tmp_path)!r}) / "trace.json"
    found.export_chrome_trace(str(trace))
    told = {{event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}}
    wanted = {{"aten::sum", "_DirectUntie", "_DirectUntieBackward"}}
    print(json.dumps([sorted(wanted - names), sorted(wanted - told), z.grad.sum().item()]))
    """
    assert _run(program, tmp_path) == [[], [], 100.0]
