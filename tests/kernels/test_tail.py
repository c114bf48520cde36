"""No kernel leaves out its last element or writes one too many; and the check that says so finds those that do."""

import ctypes
import re
import sys
from functools import cache
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
import torch
from numba import cfunc, types

from tests.kernels.guarded import BLOCK, CALLS, CHUNK, LANES, SIZES, THREADS, defects
from tieless.kernels import chunks, code_loops, loops, numba_cpu, time_loops
from tieless.kernels.lanes import Arguments
from tieless.kernels.threads import runtime

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_every_kernel_is_called_and_the_edges_are_those_of_the_loops():
    wrappers = {
        name for name, value in vars(numba_cpu).items() if isfunction(value) and value.__module__ == numba_cpu.__name__
    }
    assert set(CALLS) == {name for name in wrappers if not name.startswith("_")}
    assert (BLOCK, CHUNK, LANES) == (chunks.BLOCK, chunks.CHUNK, loops.LANES)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, id=f"{name}-{dtype}", marks=[pytest.mark.beyond] * ((row + place) % 2))
        for row, name in enumerate(CALLS)
        for place, dtype in enumerate(DTYPES)
    ],
)
def test_it_writes_every_element_and_nothing_outside(name, dtype):
    assert list(defects(name, dtype)) == []


# The proof: kernels compiled with an error in them, and the same check.

ALL = list(CALLS)
MUTANTS = {
    "one element too many": (r"word\(arguments, 0\)", "(word(arguments, 0) + 1)", ALL),
    # Only sizes with a last row of one show it: who finds it finds any last element that is left out.
    "a last row of one element is left out": (
        r"range\(0, (count|elements), (LANES|BLOCK)\)",
        r"range(0, \1 - 1, \2)",
        ALL,
    ),
    "the last row is a whole one": (r"return count - count % BLOCK .*", "return count + -count % BLOCK", ["gate"]),
    "a thread stops one element early": (r"// count \* unit\)", "// count * unit - 1)", ["codes", "gate", "jam"]),
    "bits of a last part of a byte are left out": (
        r"range\(\(count \+ 7\) // 8\)",
        "range(count // 8)",
        ["window_bits", "gate"],
    ),
    "a buffer loses its last element": (r"while done < count:", "while done < count - 1:", ["window_bits", "restore"]),
    "a buffer takes one element too many": (
        r"(run, offset, stride =) count,",
        r"\1 count + 1,",
        ["uniform", "restore"],
    ),
}
"""What is wrong, the expression and its replacement, and the kernels that have it."""


@cache
def _mutant(pattern, replacement):
    """The loops, with what they share, by name."""
    mutants, changes = {}, 0
    for original in (chunks, loops, code_loops, time_loops):
        source, count = re.subn(pattern, replacement, Path(original.__file__).read_text(encoding="utf-8"))
        changes += count
        module = ModuleType(original.__name__)
        with patch.dict(sys.modules, mutants):
            exec(compile(source, original.__file__, "exec"), module.__dict__)  # noqa: S102  (our own file)
        mutants[original.__name__] = module
    assert changes, f"no loop has {pattern} any more: write this mutant anew"
    return {name: getattr(module, name) for module in mutants.values() for name in CALLS if hasattr(module, name)}


def _use(monkeypatch, mutants, label):
    """Let the wrappers run these loops; nothing of them is kept on disk."""

    @cache
    def compiled(name, dtype, function=""):
        arguments = Arguments(str(dtype).removeprefix("torch."), function, label)
        call = cfunc(types.void(arguments))(mutants[name])
        kept.append(call)
        return numba_cpu._Kernel(ctypes.CFUNCTYPE(None, ctypes.c_char_p)(call.address), call.address)

    kept = []
    monkeypatch.setattr(numba_cpu, "_compiled", compiled)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        # A mutant takes a second to compile: each kernel has one of the two that all have.
        pytest.param(what, name, marks=[pytest.mark.beyond] * ((row + place) % 2 if names == ALL else 0))
        for row, (what, (*_, names)) in enumerate(MUTANTS.items())
        for place, name in enumerate(names)
    ],
)
def test_the_check_finds(what, name, monkeypatch):
    if what.startswith("a thread") and runtime().parallel is None:
        pytest.skip("no OpenMP: there is one thread")
    pattern, replacement, _ = MUTANTS[what]
    _use(monkeypatch, _mutant(pattern, replacement), what)
    # The address of a tensor without elements is 0.
    assert next(defects(name, torch.float32, [size for size in SIZES if size >= LANES // 2]), None)
