"""Packed networks as C in emulators: scores compared with those of the reference, and their cost.

    python tools/embedded/run.py [NET.safetensors ...] [--images 200] [--hosts 10000] [--bytes]

Without networks, three that ship are packed with random weights. Each network is exported and compiled for every target that is installed (`make embedded` installs them), and run on images
of the test set: all 10,000 on this machine, with gcc, with clang and under sanitizers, or as many as asked, and 200 in each
emulator. With --bytes each is asked again with a byte for every weight and activation. One row a network and target: bytes of flash, of scratch and of stack, and instructions an image, which QEMU counts.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tieless_runtime import Model, Network, evaluate, read
from tieless_runtime.operations import Affine, Conv, Linear, Operation, Threshold
from tieless_runtime.weights import Weight

from tieless.data import Dataset, load
from tieless.deploy import CProgram, pack, to_c
from tieless.deploy.c import name_in_c
from tieless.models import build_model
from tieless.nn import quantize_weights

HERE = Path(__file__).parent
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")


@dataclass(frozen=True)
class Target:
    """Machine that runs programs in C.

    Args:
        name: Name in the table.
        prefix: Prefix of its compiler and tools.
        flags: Flags of the compiler.
        emulator: Command that runs a program; none for this machine.
        memory: Addresses at which flash and RAM begin, for one without an operating system.
    """

    name: str
    prefix: str
    flags: tuple[str, ...]
    emulator: tuple[str, ...] = ()
    memory: tuple[str, str] | None = None

    @property
    def compiler(self) -> str:
        """Command of the compiler."""
        return self.prefix if not self.emulator else f"{self.prefix}gcc"

    @property
    def missing(self) -> list[str]:
        """Commands that are not installed."""
        return [name for name in (self.compiler, *self.emulator[:1]) if shutil.which(name) is None]


def arm(machine: str) -> tuple[str, ...]:
    """Command of the emulator of an Arm microcontroller."""
    return ("qemu-system-arm", "-M", machine, "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel")


RISCV = ("qemu-system-riscv32", "-M", "virt", "-bios", "none", "-nographic")
THUMB = ("-mthumb", "-O2", "-ffunction-sections", "-ffreestanding")
HOSTS = (
    Target("x86-64 gcc", "gcc", ("-O2",)),
    Target("x86-64 clang", "clang", ("-O2",)),
    Target("x86-64 gcc, sanitizers", "gcc", SANITIZED),
)
EMULATED = (
    Target("aarch64", "aarch64-linux-gnu-", ("-O2", "-static"), ("qemu-aarch64",)),
    Target("Cortex-M0+", "arm-none-eabi-", ("-mcpu=cortex-m0plus", *THUMB), arm("mps2-an385"), ("0", "0x20000000")),
    Target("Cortex-M4", "arm-none-eabi-", ("-mcpu=cortex-m4", *THUMB), arm("mps2-an386"), ("0", "0x20000000")),
    Target(
        "RISC-V rv32imac",
        "riscv64-unknown-elf-",
        ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", "-O2", "-ffunction-sections", "--specs=picolibc.specs"),
        (*RISCV, "-semihosting-config", "enable=on,target=native", "-kernel"),
        ("0x80000000", "0x81000000"),
    ),
)


def built(target: Target, program: CProgram, folder: Path, warnings: tuple[str, ...]) -> Path:
    """Program of a network for a target, which reads images from a file; a warning that is asked for ends it."""
    program.save(folder)
    name, upper = program.name, program.name.upper()
    objects = folder / f"{name}.o"
    flags = [flag for flag in target.flags if flag != "-static"]
    subprocess.run(
        [target.compiler, "-std=c99", *warnings, *flags, "-c", folder / f"{name}.c", "-o", objects], check=True
    )
    main = HERE / ("hosted.c" if target.memory is None else "bare.c")
    macros = [f"-DRUN={name}_run", f"-DINPUTS={upper}_INPUTS", f"-DSCORES={upper}_SCORES"]
    link: list[str | Path] = []
    if target.memory is not None:
        flash, ram = target.memory
        link = [
            "-nostartfiles",
            "-nostdlib",
            f"-Wl,--defsym=FLASH={flash},--defsym=RAM={ram}",
            "-T",
            HERE / "machine.ld",
        ]
        link += ["-Wl,--no-warn-rwx-segments", "-Wl,--gc-sections"]
    libraries = ["-lm", *(["-lc", "-lgcc"] if target.memory is not None else [])]
    binary = folder / "program"
    command = [target.compiler, *target.flags, *macros, "-include", folder / f"{name}.h", main, objects]
    subprocess.run([*command, *link, "-o", binary, *libraries], check=True)
    return binary


def plugin(folder: Path) -> list[str]:
    """Option by which QEMU counts instructions."""
    library = folder / "instructions.so"
    if not library.exists():
        compiler = shutil.which("gcc") or "cc"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", HERE / "instructions.c", "-o", library], check=True)
    return ["-plugin", str(library)]


def scores(target: Target, binary: Path, images: NDArray[Any], folder: Path) -> tuple[NDArray[Any], int]:
    """Scores of images, and instructions of the whole run."""
    (folder / "images").write_bytes(images.tobytes())
    (folder / "scores").unlink(missing_ok=True)
    command = [*target.emulator[:1], *(plugin(folder) if target.emulator else ()), *target.emulator[1:], str(binary)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    if ended.returncode:
        sys.exit(f"{target.name}: {ended.stderr[-2000:]}")
    count = next((int(line.split()[1]) for line in ended.stderr.splitlines() if line.startswith("instructions ")), 0)
    return np.frombuffer((folder / "scores").read_bytes(), np.int32), count


def flash(target: Target, program: CProgram, folder: Path) -> int:
    """Bytes of code and constants of the network alone."""
    tool = f"{target.prefix}size" if target.emulator else "size"
    shown = subprocess.run([tool, folder / f"{program.name}.o"], check=True, capture_output=True, text=True).stdout
    return int(shown.splitlines()[1].split()[0])


def row(
    target: Target,
    program: CProgram,
    images: NDArray[Any],
    expected: NDArray[Any],
    warnings: tuple[str, ...] = STRICT,
) -> tuple[str, ...]:
    """Row of the table, after the scores were compared."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        binary = built(target, program, folder, warnings)
        found, count = scores(target, binary, images, folder)
        wrong = int((found.reshape(expected.shape) != expected).any(1).sum())
        stack, each = "", ""
        if target.emulator:
            _, alone = scores(target, binary, images[:0], folder)
            each = f"{(count - alone) / len(images):,.0f}"
        if target.memory is not None:
            stack = f"{int.from_bytes((folder / 'stack').read_bytes(), 'little'):,}"
        size = f"{flash(target, program, folder):,}"
    return (
        program.name,
        target.name,
        f"{len(images) - wrong:,} of {len(images):,}",
        size,
        f"{program.scratch:,}",
        stack,
        each,
    )


def reference(network: Network, images: NDArray[Any]) -> NDArray[Any]:
    """Scores of images, bytes that stand for bytes / 255: by the runtime, and the first ones by its reference too."""
    samples = images.astype(np.float32) / np.float32(255)
    found = Model(network)(samples)
    assert (found[:200] == evaluate(network, samples[:200])[network.output]).all()
    return found


def untrained(samples: Dataset) -> dict[str, Network]:
    """A perceptron, LeNet-5 and a residual network, whose weights are random."""
    example = samples.train_x[:200]
    found: dict[str, Network] = {}
    for name, spec, forward, binary in (
        ("mlp", 'mlp(64, 2, norm="batch")', "sign", True),
        ("lenet", 'lenet5(norm="batch")', "heaviside", False),
        ("cnn", "residual_cnn(bend=true, width=8)", "sign", True),
    ):
        torch.manual_seed(0)
        model = build_model(spec, forward, "rectangular(-1, 1)", features=example[0].numel(), classes=samples.classes)
        if binary:
            quantize_weights(model, "sign", "rectangular(-1, 1)", scale="mean")
        model(example)  # so that batch norm has seen samples
        found[name] = pack(model, example, ends="int8", weight_bits=4).network
    return found


def in_bytes(network: Network) -> Network:
    """The same network with a byte for every weight and for every activation."""
    operations: list[Operation] = []
    for operation in network.operations:
        if isinstance(operation, (Linear, Conv)):
            operations.append(replace(operation, weight=Weight("integer", operation.weight.values, 8)))
        elif isinstance(operation, Threshold):
            code, channels = f"{operation.output} code", len(operation.direction)
            operations.append(replace(operation, output=code))
            same = {"factor": np.ones(channels, np.int32), "offset": np.zeros(channels, np.int32)}
            operations.append(Affine(name=operation.name, inputs=(code,), output=operation.output, **same))
        else:
            operations.append(operation)
    return Network(network.shape, tuple(operations), network.output, network.score_scale)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", type=Path, help="packed networks of integers [three, not trained]")
    parser.add_argument("--images", type=int, default=200, help="images in each emulator [200]")
    parser.add_argument("--hosts", type=int, help="images on this machine [all]")
    parser.add_argument("--bytes", action="store_true", help="each network in bytes too")
    parser.add_argument("--data", default="fashion-mnist", help="data set [fashion-mnist]")
    options = parser.parse_args()
    samples = load(options.data, seed=0)
    images = np.rint(samples.test_x[: options.hosts].numpy() * 255).astype(np.uint8)
    labels = samples.test_y[: options.hosts].numpy()
    for target in (*HOSTS, *EMULATED):
        if target.missing:
            print(f"Left out: {target.name}, for want of {', '.join(target.missing)}.", file=sys.stderr)
    titles = ("Network", "Target", "Equal scores", "Flash", "Scratch", "Stack", "Instructions an image")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    failed = False
    networks = {name_in_c(path.stem): read(path) for path in options.networks} or untrained(samples)
    if options.bytes:
        networks = {**networks, **{f"{name}_bytes": in_bytes(network) for name, network in networks.items()}}
    for name, network in networks.items():
        program = to_c(network, name, pixel=(1 / 255, 0))
        expected = reference(network, images)
        for target in (*HOSTS, *EMULATED):
            if not target.missing:
                count = min(options.images, len(images)) if target.emulator else len(images)
                cells = row(target, program, images[:count], expected[:count])
                failed |= cells[2] != f"{count:,} of {count:,}"
                print(f"| {' | '.join(cells)} |", flush=True)
        print(
            f"| {program.name} | accuracy: {100 * (expected.argmax(1) == labels).mean():.2f} % |  |  |  |  |  |",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
