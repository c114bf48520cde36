"""Each benchmark runs, with as little as it can do, and prints its table. Its measurements are not checked."""

import importlib
import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from tieless.models import MLP

pytest.importorskip("rich")

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
DOCS = ROOT / "docs"
PEERS = {
    "freegrad": "freegrad",
    "snntorch": "snntorch.surrogate",
    "spikingjelly": "spikingjelly.activation_based.surrogate",
}

OPTIONS = {
    "activations": "--rounds 1 --threads 1 --sizes 4",
    "channels_last": "--rounds 1 --images 1",
    "cluster_faults": "--trials 2 --times 0 --only none",
    "cluster_scale": "--trials 200 --nodes 10 --stored 20",
    "compiled": "--rounds 1 --networks small --backend eager --only relu",
    "convert_calls": "",
    "denormals": "--rounds 1",
    "few_bit_levels": "",
    "first_call": "--rounds 1",
    "gpu": "--rounds 1 --sizes 4 --dtypes float32 --device cpu",
    "interleaved": "",
    "large_store": "--trials 200",
    "lenet5_epoch": "--rounds 1",
    "lif": "--rounds 1 --steps 2 --neurons 2 3",
    "low_memory": "--rounds 1 --threads 1 --sizes 4",
    "mean_component": "",
    "monitor": "--rounds 1 --every 1",
    "optimisers": "--rounds 1",
    "packed_activations": "--rounds 1",
    "packed_networks": "--rounds 1 --only product",
    "passes": "--rounds 1 --sizes 10",
    "peers": "--rounds 1 --sizes 4",
    "study_throughput": "--rounds 1 --steps 3 --trials 3",
    "verdict_errors": "--simulations 50 --checked 1",
    "vit_memory": "--rounds 1 --blocks 1 --batch 1 --threads 1",
}
# A line of each output, from its last row, so that no row before it failed.
PRINTS = {
    "activations": r"heaviside \+ sigmoid +│ +[\d.]+ │ +[\d.]+ │ +2 / 1\.4 │",
    "channels_last": r"positive_jam │ [\d.]+ \([\d.]+\) │",
    "cluster_faults": r"none +│ +0 │ +2 │ +0 │ +0 │ +0 │ +0 │",
    "cluster_scale": r"600 s │ +[\d.]+ │ +\d+ % │ +[\d.]+ % │.*│ +200 │",
    "compiled": r"relu \+ positive_jam +│ +[\d.]+ │",
    "convert_calls": r"in a mode.* [\d.]+",
    "denormals": r"a few samples │ [\d.]+ ms +│ [\d.]+ ms +│ [\d.]+ +│",
    "few_bit_levels": r"silu +│ relu, 1 bit +│ [\d.]+ +│",
    "first_call": r"native relu +│ +[\d.]+ │",
    "gpu": r"gelu \+ regelu2 +│ +[\d.]+ │ +[\d.]+ │ +0\.8 │",
    "interleaved": r"1 thread\(s\).*, torch [\d.]+.*, tieless \d",
    "large_store": r"resume +│ [\d.]+ +│ 2 missing +│\n(.*\n)+.*report +│ [\d.]+ +│ [\d.]+ MB",
    "lenet5_epoch": r"heaviside, rectangular +│ [\d.]+ +│ [\d.]+",
    "lif": r"times faster",
    "low_memory": r"silu \+ few_bit\(3\) │ +[\d.]+ │ +1\.3 / 0\.8 │",
    "mean_component": r"│ +3 │ +[\d.e-]+ │ +[\d.e+-]+, +[\d.]+ % │",
    "monitor": r"heaviside, rectangular +│ [\d.]+ ms +│ [\d.]+ ms +│ [\d.]+ +│ [\d.]+ % +│ 10 % ",
    "optimisers": r"a few rows │ [\d.]+ ms +│ [\d.]+ ms +│ (-|[\d.]+ ms) +│ [\d.]+ ms +│ [\d.]+ +│ [\d.]+ +│",
    "packed_activations": r"The gradients of the three ways were equal bit for bit\.",
    "packed_networks": r"torch\._int_mm \| [\d.]+ \| [\d.]+ \|",
    "passes": r"relu \+ full_jam +│ +[\d.]+ │\n.* without its passes │ +-?[\d.]+ │",
    "peers": r"spikingjelly │ heaviside \+ sigmoid +│ +[\d.]+ │",
    "study_throughput": r"study: [\d.]+ ms of CPU(.*\n)+1 process: (.*\n)+runner: [\d.]+ ms",
    "verdict_errors": r"│ +0\.5 │ +1 │ +62 │ +[\d.]+ │\n(.*\n)*50 simulated studies a row",
    "vit_memory": r"bfloat16 │(.*\n)+.*gelu \+ regelu2, checkpointed blocks │ +\d+",
}


def _smaller(monkeypatch, name, module):
    """Smaller inputs for benchmarks that take too long even with their smallest options."""
    if name == "convert_calls":
        monkeypatch.setattr(module, "CALLS", 2)
        monkeypatch.setattr(module, "ROUNDS", 1)
    elif name == "denormals":
        few = replace(module.DEEP, data="digits", subset=64, model="mlp(8, 2)", batch=8)
        monkeypatch.setattr(module, "TRIALS", {"a few samples": few})
    elif name == "few_bit_levels":
        monkeypatch.setattr(module, "FORWARDS", ("tanh",))
    elif name == "first_call":
        monkeypatch.setattr(module, "CASES", module.CASES[-1:])
    elif name == "lenet5_epoch":
        some = torch.rand(64, 1, 28, 28), torch.randint(0, 10, (64,))
        monkeypatch.setattr(module, "images", lambda: some)
        turn = module.Runner.turn
        monkeypatch.setattr(module.Runner, "turn", lambda runner, _steps: turn(runner, 1))
    elif name == "mean_component":
        some = torch.rand(8, 1, 28, 28, dtype=torch.float64), torch.randint(0, 10, (8,))
        monkeypatch.setattr(module, "batch", lambda: some)
        monkeypatch.setattr(module, "DEPTH", 3)
        monkeypatch.setattr(module, "SHOWN", (0, 2))
    elif name == "optimisers":
        monkeypatch.setattr(module, "NETWORKS", {"a few rows": (lambda: MLP(784, [8, 8], 10), 4)})
    elif name == "packed_activations":
        monkeypatch.setattr(
            module,
            "NETWORKS",
            {
                "a few rows": lambda activation: (
                    torch.nn.Sequential(torch.nn.Linear(256, 64), activation(), torch.nn.Linear(64, module.CLASSES)),
                    torch.randn(8, 256),
                )
            },
        )
    elif name == "vit_memory":
        monkeypatch.setattr(module, "TOKENS", 4)
        monkeypatch.setattr(module, "WIDTH", 24)


@pytest.fixture
def run(monkeypatch, capsys):
    """Call ``main`` of a script with the options given, as its command line would, and return the output."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("COLUMNS", "200")
    threads = torch.get_num_threads()

    def main(name, options):
        module = importlib.import_module(name)
        _smaller(monkeypatch, name, module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options.split()])
        if name == "interleaved":
            torch.set_num_threads(1)
            return module.machine()
        module.main()
        return capsys.readouterr().out

    yield main
    torch.set_num_threads(threads)
    for script in BENCHMARKS.glob("*.py"):
        sys.modules.pop(script.stem, None)


def test_each_benchmark_is_tested():
    assert sorted(OPTIONS) == sorted(PRINTS) == sorted(script.stem for script in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_it_prints_its_table(name, run):
    if name == "peers" and not all(map(importlib.util.find_spec, PEERS)):
        pytest.skip("the peers are not installed")
    printed = run(name, OPTIONS[name])
    assert re.search(PRINTS[name], printed), printed


def test_a_peer_that_is_missing_costs_its_rows_alone(run):
    with patch.dict(sys.modules, dict.fromkeys(PEERS.values())):
        printed = run("peers", "--rounds 1 --sizes 4")
    for peer in ("freegrad 1.0.1", "snntorch 1.0.0", "spikingjelly 2.0.0"):
        assert re.search(rf"^{re.escape(peer)} is not installed .*: its rows are left out\.$", printed, re.MULTILINE)


def test_without_a_gpu_or_a_compiler_one_line_says_so(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    for name, line in {"gpu": "No CUDA device: nothing to measure", "compiled": "No C++ compiler"}.items():
        printed = run(name, "")
        assert printed.startswith(line)
        assert printed.count("\n") == 1


def test_a_script_starts_as_a_script():
    words = [sys.executable, BENCHMARKS / "interleaved.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1


def test_the_pages_name_commands_that_exist():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "performance").glob("*.md")))
    commands = re.findall(r"^python benchmarks/(\w+)\.py(.*)$", pages, re.MULTILINE)
    # Errors of verdicts and shares of gradients are no times: other pages have them.
    elsewhere = {
        "cluster_faults": "cluster.md",
        "cluster_scale": "cluster.md",
        "verdict_errors": "statistics.md",
        "mean_component": "direction-first.md",
    }
    assert {name for name, _ in commands} == set(OPTIONS) - {"interleaved", *elsewhere}
    for name, other in elsewhere.items():
        assert f"python benchmarks/{name}.py" in (DOCS / other).read_text(encoding="utf-8")
    for name, options in commands:
        source = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
        assert all(f'"{option}"' in source for option in re.findall(r"--\w+", options))
