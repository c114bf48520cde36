"""The command, and an environment without PyTorch in which the packed networks run."""

import ast
import re
import struct
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import tieless_runtime
import torch
from tieless_runtime.__main__ import main

from tests.runtime.networks import small_network
from tieless.deploy import pack
from tieless.models import MLP, ResidualCNN
from tieless.nn import quantize_weights

SOURCE = Path(tieless_runtime.__file__).parent


@pytest.fixture
def files(tmp_path):
    network, rng = small_network(np.random.default_rng(0)), np.random.default_rng(1)
    images = rng.random((20, 1, 8, 8)).astype(np.float32)
    labels = tieless_runtime.evaluate(network, images)["scores"].argmax(1)
    labels[:5] = (labels[:5] + 1) % 10
    paths = [tmp_path / name for name in ("net.safetensors", "images.npy", "labels.npy")]
    tieless_runtime.write(network, paths[0])
    np.save(paths[1], images)
    np.save(paths[2], labels)
    return [str(path) for path in paths]


def test_the_command_prints_labels_accuracy_throughput_and_latency(files, capsys):
    model, images, labels = files
    assert main([model, "--data", images, "--labels", labels, "--batch", "8", "--repeat", "5", "--threads", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^labels( +\d){10} \.\.\.$", printed, re.MULTILINE)
    assert "accuracy    75.00 %, 15 of 20" in printed
    assert re.search(r"^throughput  \d+ samples a second, 8 at a time$", printed, re.MULTILINE)
    assert re.search(
        r"^latency     one sample 50 %: [\d.]+ ms, 90 %: [\d.]+ ms, 99 %: [\d.]+ ms$", printed, re.MULTILINE
    )


def test_the_command_stores_labels(files, tmp_path):
    assert main([files[0], "--data", files[1], "--out", str(tmp_path / "found")]) == 0
    assert (np.load(tmp_path / "found") != np.load(files[2])).sum() == 5


def test_a_mistake_is_one_line(files, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "archive.npy").write_bytes(b"PK\x03\x04" + bytes(50))
    header = b"{'descr': '<f4', (((".ljust(117) + b"\n"
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    images = np.load(files[1])
    images[11, 0, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", images)
    mistakes = [
        [str(tmp_path / "none"), "--data", files[1]],
        [files[0], "--data", str(tmp_path / "nan.npy"), "--batch", "8"],
        [files[1], "--data", files[1]],
        [files[0], "--data", str(tmp_path / "text.npy")],
        [files[0], "--data", str(tmp_path / "archive.npy")],
        [files[0], "--data", str(tmp_path / "header.npy")],
        [files[0], "--data", str(tmp_path / "objects.npy")],
        [files[0], "--data", files[2]],
        [files[0], "--data", files[1], "--labels", files[1]],
        [files[0], "--data", files[1], "--threads", "0"],
        [files[0], "--data", files[1], "--batch", "0"],
    ]
    for mistake in mistakes:
        assert main(mistake) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("Error: ")
        assert printed.err.count("\n") == 1
        assert not printed.out
        assert "nan.npy" not in mistake[2] or "got nan in sample 11" in printed.err


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)


def test_the_runtime_imports_what_it_declares_and_no_more():
    found = {name for path in SOURCE.rglob("*.py") for name in imported(path)} - set(sys.stdlib_module_names)
    assert found == {"llvmlite", "numba", "numpy", "safetensors", "tieless_runtime"}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Interpreter of an environment with links to what the runtime declares, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for name in ("llvmlite", "numba", "numpy", "safetensors"):
        package = distribution(name)
        tops = {file.parts[0] for file in package.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            (site / top).symlink_to(Path(package.locate_file(top)))
    (site / "tieless_runtime").symlink_to(SOURCE)
    return folder / "bin" / "python"


MODELS = {
    "bnn-mlp": lambda: quantize_weights(MLP(784, (64, 64, 64), 10, "sign", "rectangular", norm="batch")),
    "bnn-cnn": lambda: quantize_weights(ResidualCNN("sign", "rectangular", width=8, bend=True)),
}


@pytest.mark.parametrize("ends", ["float", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_packed_networks_run_in_an_environment_without_pytorch(python, tmp_path, name, ends):
    torch.manual_seed(0)
    images = torch.rand(30, 1, 28, 28)
    packed = pack(MODELS[name]().eval(), images, ends)
    packed.save(tmp_path / "net.safetensors")
    np.save(tmp_path / "net.images.npy", images.numpy())
    np.save(tmp_path / "net.scores.npy", packed(images).numpy())
    program = Path(__file__).with_name("without_torch.py")
    # -I: no PYTHONPATH, nor the folder of the program.
    run = subprocess.run([python, "-I", program, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seconds = float(re.match(r"imported in ([\d.]+) s of the processor, 30 labels equal; 1 networks", run.stdout)[1])
    assert seconds < 0.5
