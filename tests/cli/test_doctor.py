"""``tieless doctor`` tells which kernels run, as dispatch chooses them, and finds one that is wrong."""

import importlib.metadata
import re
import types
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tieless.cli import installation, main
from tieless.cli.installation import differences
from tieless.kernels import numba_cpu, reference
from tieless.kernels.threads import Runtime
from tieless.ops import dispatch, fusing

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def doctor(**environment):
    return CliRunner().invoke(main, ["doctor"], env=environment)


def kernels_of(output):
    """The rows of the first table, by device and dtype; cells stand two blanks or more apart."""
    _, *lines = output.split("\n\n")[0].splitlines()
    rows = [re.split(r" {2,}", line.rstrip()) for line in lines]
    return {(row[0], row[1]): row[2:] for row in rows}


def facts_of(output):
    lines = output.split("\n\n")[1].splitlines()
    return dict(re.split(r" {2,}", line.rstrip(), maxsplit=1) for line in lines)


@pytest.fixture
def one_dtype(monkeypatch):
    """A quick look: at float32 on the CPU."""
    monkeypatch.setattr(installation, "FLOATING", (torch.float32,))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


@pytest.fixture
def forced(monkeypatch):
    """Set TIELESS_KERNELS for this test alone: dispatch reads it once."""

    def force(name):
        monkeypatch.setenv("TIELESS_KERNELS", name)
        dispatch.candidates.cache_clear()

    yield force
    monkeypatch.undo()
    dispatch.candidates.cache_clear()


def test_each_dtype_has_the_kernels_that_dispatch_chooses_and_they_agree():
    result = doctor()
    found = kernels_of(result.output)
    for name, dtype in DTYPES.items():
        used, verdict, others = found["cpu", name]
        chosen = dispatch.choose(torch.empty(1, dtype=dtype))
        assert {k.name: k.module for k in dispatch.FASTEST_FIRST}[used] == chosen.__name__
        assert verdict == ("is the reference" if chosen is reference else "agrees")
        assert {other.split(": ")[0] for other in others.split("; ")} == {
            kernels.name for kernels in dispatch.FASTEST_FIRST
        } - {used}
    assert result.exit_code == 0
    assert len(found) == len(DTYPES) * (2 if torch.accelerator.is_available() else 1)


@pytest.mark.usefixtures("one_dtype")
def test_kernels_that_are_named_leave_the_others_out_and_say_so(forced):
    forced("reference")
    result = doctor()
    used, verdict, others = kernels_of(result.output)["cpu", "float32"]
    assert (result.exit_code, used, verdict) == (0, "reference", "is the reference")
    assert "numba: TIELESS_KERNELS is reference" in others
    assert facts_of(result.output)["TIELESS_KERNELS"] == "reference"


@pytest.mark.usefixtures("one_dtype")
def test_kernels_that_do_not_exist_are_told_and_fail(forced):
    forced("nmba")
    result = doctor()
    assert result.exit_code == 1
    used, verdict = kernels_of(result.output)["cpu", "float32"]
    assert used == "none"
    assert verdict.startswith("TIELESS_KERNELS: Unknown kernels 'nmba'. Did you mean 'numba'?")
    assert facts_of(result.output)["TIELESS_KERNELS"] == "nmba"


@pytest.mark.usefixtures("one_dtype")
def test_a_kernel_that_is_wrong_in_its_tail_fails(monkeypatch):
    gate = numba_cpu.gate

    def wrong(grad_output, bits, inside, outside):
        sent = gate(grad_output, bits, inside, outside)
        sent[-1] += 1
        return sent

    monkeypatch.setattr(numba_cpu, "gate", wrong)
    result = doctor()
    assert result.exit_code == 1
    assert kernels_of(result.output)["cpu", "float32"][1] == "gate differs"


def variant(**functions):
    """The reference, with functions exchanged."""
    return types.SimpleNamespace(**{**vars(reference), **functions})


def off_by(index, name):
    def run(*arguments):
        result = getattr(reference, name)(*arguments)
        tensor = result[0] if isinstance(result, tuple) else result
        flat = tensor.view(-1)
        flat[index] = flat[index] + 1 if tensor.dtype == torch.uint8 else 3
        return result

    return run


@pytest.mark.parametrize("name", ["activate", "window_bits", "codes", "gate", "levels", "slope", "uniform", "jam"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("index", [0, -1])
def test_each_operation_is_looked_at_to_its_ends(name, dtype, index):
    assert differences(variant(**{name: off_by(index, name)}), dtype, "cpu") == [f"{name} differs"]


def test_the_bits_of_a_forward_are_looked_at_too():
    def without_bits(*arguments):
        y, bits = reference.activate(*arguments)
        return y, torch.zeros_like(bits)

    assert differences(variant(activate=without_bits), torch.float32, "cpu") == ["activate differs"]


def test_a_kernel_that_raises_is_told_with_its_reason():
    def broken(*_):
        raise OSError("no\n compiler")

    found = differences(variant(jam=broken, codes=broken), torch.float32, "cpu")
    assert found == ["codes fails (OSError: no compiler)", "jam fails (OSError: no compiler)"]
    assert differences(reference, torch.float32, "cpu") == []


@pytest.mark.usefixtures("one_dtype")
def test_kernels_that_cannot_be_imported_are_not_used(monkeypatch):
    def load(kernels):
        if kernels is not dispatch.REFERENCE:
            raise ImportError(f"No module named {kernels.name!r}")
        return reference

    monkeypatch.setattr(dispatch.Kernels, "load", load)
    used, _, others = kernels_of(doctor().output)["cpu", "float32"]
    assert used == "reference"
    assert "numba: cannot be imported (No module named 'numba')" in others


@pytest.mark.usefixtures("one_dtype")
def test_where_nothing_runs_it_fails_and_each_says_why(monkeypatch):
    monkeypatch.setattr(dispatch.Kernels, "refusals", lambda kernels, *_: [f"{kernels.name} refuses"])
    result = doctor()
    used, verdict, others = kernels_of(result.output)["cpu", "float32"]
    assert (result.exit_code, used, verdict) == (1, "none", "nothing runs")
    assert others == "; ".join(f"{k.name}: {k.name} refuses" for k in dispatch.FASTEST_FIRST)


@pytest.mark.usefixtures("one_dtype")
def test_the_facts_are_those_of_this_process(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        facts = facts_of(doctor().output)
    finally:
        torch.set_num_threads(before)
    assert facts["torch threads"] == "3"
    assert facts["tieless"] == importlib.metadata.version("tieless")
    assert facts["torch"].startswith(f"{torch.__version__}, built ")
    assert facts["numba"] == importlib.metadata.version("numba")
    assert facts["vectors"].endswith(f"PyTorch uses {torch.backends.cpu.get_cpu_capability()}")
    assert {"CPU", "CUDA devices", "OpenMP", "Python", "triton", "NUMBA_CACHE_DIR"} <= facts.keys()
    listed = CliRunner().invoke(main, ["data", "list"]).output.splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [
        [name.removeprefix("data: "), where] for name, where in facts.items() if name.startswith("data: ")
    ]


@pytest.mark.usefixtures("one_dtype")
def test_without_openmp_it_says_one_thread(monkeypatch):
    monkeypatch.setattr(installation, "runtime", lambda: Runtime(None, None))
    assert facts_of(doctor().output)["OpenMP"] == "none is loaded: kernels run in one thread"


@pytest.mark.usefixtures("one_dtype")
def test_the_folder_of_compiled_kernels_is_where_they_are():
    folder, writable, count = facts_of(doctor().output)["compiled kernels"].rsplit(", ", 2)
    kernels = list(Path(folder).glob("loops.*.nbc"))
    assert kernels
    assert (writable, count) == ("writable", f"{len(kernels)} kernels")


@pytest.mark.usefixtures("one_dtype")
def test_where_kernels_cannot_be_kept_it_says_what_to_do(monkeypatch):
    from numba.core import caching

    def refuse(_):
        raise RuntimeError("no locator available")

    monkeypatch.setattr(caching, "FunctionCache", refuse)
    where = facts_of(doctor().output)["compiled kernels"]
    assert where == "nowhere: each process compiles anew. Set NUMBA_CACHE_DIR to a folder that can be written"


@pytest.mark.usefixtures("one_dtype")
def test_in_a_terminal_it_is_in_colour_and_piped_it_is_plain():
    coloured, plain = doctor(FORCE_COLOR="1", COLUMNS="400", TERM="xterm").output, doctor().output
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", coloured)
    for cell in kernels_of(plain)["cpu", "float32"]:
        assert cell in shown


def test_it_tells_what_compiled_code_fuses(one_dtype, monkeypatch):
    fusing.forced.cache_clear()
    facts = facts_of(doctor().output)
    assert facts["TIELESS_COMPILED"].startswith("not set")
    assert facts["torch.compile: bits"] == "fused on cpu in float32"
    assert facts["torch.compile: jam"] == "an operator"
    monkeypatch.setenv("TIELESS_COMPILED", "fuse")
    fusing.forced.cache_clear()
    assert facts_of(doctor().output)["torch.compile: bits"].startswith("TIELESS_COMPILED: Unknown form 'fuse'.")
    monkeypatch.undo()
    fusing.forced.cache_clear()
