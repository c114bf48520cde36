"""How fast are packed products, convolutions and networks, beside PyTorch and ONNX Runtime in float32 and int8?

Each table is of interleaved runs in one process. One thread is timed by what it has of the processor, so that others on the machine
count less. ``--threads 2`` gives all of them two threads; ``--layers`` adds the time of each step of the packed networks.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import onnxruntime
import torch
from interleaved import machine, medians
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from onnxruntime import quantization
from tieless_runtime import Model, Network
from tieless_runtime.bits import BitProduct
from tieless_runtime.dense import ByteProduct
from tieless_runtime.kernels import rows
from tieless_runtime.operations import Conv, Linear, Operation, Threshold
from tieless_runtime.paths import runnable
from tieless_runtime.plan import Plan
from tieless_runtime.values import codes
from tieless_runtime.weights import Weight
from torch import nn

from tieless.deploy import pack
from tieless.models import MLP, ResidualCNN
from tieless.nn import freeze, quantize_weights

RNG = np.random.default_rng(0)
WORK = ("product", "bits", "convolution", "networks")


@intrinsic
def _counting(_context: Any, times: Any) -> Any:
    """Loop of 16 chains of xor, popcount and add on vectors of 8 words, with nothing from memory."""

    def lower(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(64), 8)
        count = builder.module.declare_intrinsic("llvm.ctpop.v8i64", fnty=ir.FunctionType(vector, [vector]))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [number] * 8)) for number in range(16)]
        undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        with cgutils.for_range(builder, args[0]) as loop:
            first = builder.insert_element(undefined, loop.index, ir.Constant(ir.IntType(32), 0))
            word = builder.shuffle_vector(first, undefined, zeros)
            for number, total in enumerate(sums):
                mixed = builder.xor(word, ir.Constant(vector, [number * 0x9E3779B97F4A7C15 % 2**63] * 8))
                builder.store(builder.add(builder.load(total), builder.call(count, [mixed])), total)
        total = builder.load(sums[0])
        for other in sums[1:]:
            total = builder.xor(total, builder.load(other))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.int64(types.int64), lower


@numba.njit(nogil=True)
def _count(times: int) -> int:
    return _counting(times)


def signs(*shape: int) -> np.ndarray:
    """Random -1 and 1."""
    return (2 * RNG.integers(0, 2, shape) - 1).astype(np.int8)


def step_of(channels: int, middle: int) -> Threshold:
    """Thresholds near the middle of the sums."""
    edges = RNG.integers(middle - 8, middle + 8, (1, channels)).astype(np.int32)
    settings = {"direction": np.ones(channels, np.int8), "low": -1, "step": 2}
    return Threshold(name="", inputs=("y",), output="z", thresholds=edges, **settings)


def packed_words(x: np.ndarray) -> np.ndarray:
    """Signs of floats ``(n, height, width, channels)`` as a value of one bit."""
    channels = x.shape[-1]
    out = np.empty((x.size // channels, channels // 64), np.uint64)
    edges, up = np.zeros(channels, np.float32), np.full(channels // 16, 0xFFFF)
    rows.one_bit(x, edges, up, True, len(out), out)
    return out.reshape(1, *x.shape[:-1], -1)


def table(title: str, times: dict[str, float], ours: str) -> None:
    """Print times, and how often ours goes into each."""
    print(f"\n{title}\n\n| | ms | times ours |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1e3 * seconds:.3f} | {seconds / times[ours]:.1f} |")


def timing(threads: int) -> dict[str, Any]:
    """Time of the processor for one thread; for more that of the clock on the wall, with a rest between cases."""
    return {"clock": time.process_time} if threads == 1 else {"clock": time.perf_counter, "rest": 0.05}


def product(threads: int, rounds: int, n: int = 256, k: int = 1024, m: int = 1024) -> None:
    """Binary product."""
    weight = Weight("binary", signs(m, k))
    operation = Linear(name="", inputs=("x",), output="y", weight=weight, bias=None)
    value = codes((k,), -1, 2, 1)
    x = RNG.standard_normal((n, 1, 1, k)).astype(np.float32)
    words = packed_words(x)
    cases: dict[str, Callable[[], object]] = {}
    for path in runnable():
        bits, sums = (BitProduct(operation, value, (1, 1), step, path) for step in (step_of(m, 0), None))
        cases[f"bits to bits, {path}"] = lambda bits=bits: bits(words)
        cases[f"bits to integers, {path}"] = lambda sums=sums: sums(words)
    fastest = BitProduct(operation, value, (1, 1), step_of(m, 0), runnable()[0])
    cases["floats packed, bits to bits"] = lambda: fastest(packed_words(x))
    floats_, weights = torch.from_numpy(x).reshape(n, k), torch.from_numpy(weight.values).float()
    whole, whole_weights = floats_.sign().to(torch.int8), torch.from_numpy(weight.values).T
    half, half_weights = floats_.bfloat16(), weights.bfloat16()
    cases["torch float32"] = lambda: floats_ @ weights.T
    cases["torch bfloat16"] = lambda: half @ half_weights.T
    cases["torch._int_mm"] = lambda: torch._int_mm(whole, whole_weights)  # noqa: SLF001  (PyTorch's only product of int8)
    times = medians(cases, rounds=rounds, **timing(threads))
    table(f"Binary product {n} x {k} x {m}, one thread of ours", times, f"bits to bits, {runnable()[0]}")
    if runnable()[0] == "avx512":
        _count(1)
        seconds = medians({"rate": lambda: _count(1_000_000)}, rounds=rounds, **timing(threads))["rate"]
        share = n * m * (k / 64) / times["bits to bits, avx512"] / (128 * 1_000_000 / seconds)
        print(f"\nShare of the machine's own rate of xor + popcount + add: {100 * share:.0f} %")


def few_bits(threads: int, rounds: int, n: int = 256, k: int = 1024, m: int = 1024) -> None:
    """Products of a few bits, as bits and as bytes."""
    cases: dict[str, Callable[[], object]] = {}
    for planes, bits in ((1, 1), (1, 2), (1, 4), (2, 2), (1, 8), (2, 4), (4, 4), (8, 8)):
        value = codes((k,), 0, 1, 2**planes - 1)
        weight = Weight("integer", RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (m, k)).astype(np.int8), bits)
        operation = Linear(
            name="", inputs=("x",), output="y", weight=Weight("binary", signs(m, k)) if bits == 1 else weight, bias=None
        )
        numbers = RNG.integers(0, 2**planes, (n, 1, 1, k)).astype(np.int32)
        words = np.empty((planes, n, k // 64), np.uint64)
        rows.codes(numbers.reshape(n, k), 0, 1, words)
        given = words.reshape(planes, n, 1, 1, -1)
        counted = BitProduct(operation, value, (1, 1), None, runnable()[0])
        whole = ByteProduct(operation, value, k, (1, 1), None, runnable()[0])
        assert (counted(given) == whole(numbers)).all()
        name = f"numbers of {planes}, weights of {bits}"
        cases[f"{name}: bits"] = lambda counted=counted, given=given: counted(given)
        cases[f"{name}: bytes"] = lambda whole=whole, numbers=numbers: whole(numbers)
    times = medians(cases, rounds=rounds, **timing(threads))
    print(
        f"\nProduct of a few bits {n} x {k} x {m}, one thread of ours\n\n| bits | as bits, ms | as bytes, ms |\n|---|---|---|"
    )
    for name in dict.fromkeys(each.rpartition(":")[0] for each in cases):
        print(f"| {name} | {1e3 * times[name + ': bits']:.3f} | {1e3 * times[name + ': bytes']:.3f} |")


def onnx_calls(model: nn.Module, x: torch.Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """The network in ONNX Runtime: float32, and int8 as its own quantisation makes it."""
    # PyTorch's exporter and the quantiser write about what is not installed, and what else could be done.
    logging.disable(logging.WARNING)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"x": x.numpy()}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    calls: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, whole = (str(Path(folder) / name) for name in ("float.onnx", "int8.onnx"))
        torch.onnx.export(model, (x,), plain, dynamo=True, input_names=["x"], verbose=False, external_data=False)
        quantization.quantize_static(plain, whole, Reader(), per_channel=True)
        for name, path in (("ONNX Runtime float32", plain), ("ONNX Runtime int8", whole)):
            session = onnxruntime.InferenceSession(path, options)
            calls[name] = lambda session=session: session.run(None, {"x": x.numpy()})
    return calls


def convolution(batch: int, threads: int, rounds: int, channels: int = 128, size: int = 28) -> None:
    """Binary convolution of 3 x 3, on bits."""
    weight = Weight("binary", signs(channels, channels, 3, 3))
    sizes = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    operation = Conv(name="", inputs=("x",), output="y", weight=weight, bias=None, **sizes)
    value = codes((channels, size, size), -1, 2, 1)
    x = RNG.standard_normal((batch, size, size, channels)).astype(np.float32)
    words = packed_words(x)
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).requires_grad_(requires_grad=False).eval()
    layer.weight.data = torch.from_numpy(weight.values).float()
    image = torch.from_numpy(x).permute(0, 3, 1, 2).sign()
    plain = image.contiguous()
    made = [BitProduct(operation, value, (size, size), step, runnable()[0]) for step in (step_of(channels, 0), None)]
    cases: dict[str, Callable[[], object]] = {
        "bits to bits": lambda: made[0](words),
        "bits to integers": lambda: made[1](words),
        "floats packed, bits to bits": lambda: made[0](packed_words(x)),
        "torch float32": lambda: layer(plain),
        "torch float32, channels last": lambda: layer(image),
        **onnx_calls(layer, plain, threads),
    }
    with torch.no_grad():
        times = medians(cases, rounds=rounds, **timing(threads))
    title = f"Binary convolution 3 x 3, {channels} to {channels} channels, {size} x {size}, batch {batch}, one thread of ours"
    table(title, times, "bits to bits")


def networks() -> dict[str, nn.Module]:
    """Networks of the zoo, as they are after training; their weights are random."""
    torch.manual_seed(0)
    found = {
        "BNN MLP": MLP(784, (512, 512, 512), 10, "sign", "rectangular(-1, 1)", norm="batch"),
        "binary residual CNN": ResidualCNN("sign", "rectangular(-1, 1)", bend=True),
    }
    for model in found.values():
        quantize_weights(model)
        with torch.no_grad():
            model.train()(torch.rand(100, 1, 28, 28))
        freeze(model).eval().requires_grad_(requires_grad=False)
    return found


def whole(name: str, model: nn.Module, batch: int, threads: int, rounds: int) -> None:
    """Network from images to scores."""
    x = torch.rand(batch, 1, 28, 28)
    images = x.numpy()
    compiled = torch.compile(model)
    cases: dict[str, Callable[[], object]] = {}
    for ends in ("float", "int8"):
        runtime = Model(pack(model, torch.rand(100, 1, 28, 28), ends).network, threads=threads)
        cases[f"packed, {ends} ends"] = lambda runtime=runtime: runtime(images)
    cases |= {"torch eager": lambda: model(x), "torch compiled": lambda: compiled(x), **onnx_calls(model, x, threads)}
    with torch.no_grad():
        times = medians(cases, rounds=rounds, **timing(threads))
    table(f"{name}, batch {batch}, {threads} thread(s)", times, "packed, float ends")


def layers(name: str, network: Network, rounds: int, batch: int = 64) -> None:
    """Time of each step of a packed network."""
    plan = Plan(network, runnable()[0])
    images = np.random.default_rng(0).random((batch, *network.shape), np.float32)
    plan.run(images)
    makers: dict[str, Operation] = {each.output: each for each in network.operations}
    steps: dict[int, list[float]] = {}
    for index, (layer, inputs, output, step) in enumerate(plan.steps):

        def timed(given: list[Any], step: Any = step, index: int = index) -> Any:
            start = time.process_time()
            found = step(given)
            steps.setdefault(index, []).append(time.process_time() - start)
            return found

        plan.steps[index] = (layer, inputs, output, timed)
    for _ in range(rounds):
        plan.run(images)
    medians_ = {index: float(np.median(times)) for index, times in steps.items()}
    total = sum(medians_.values())
    print(f"\n{name}, batch {batch}: time a layer\n\n| layer | ends in | ms | share |\n|---|---|---|---|")
    for index, (layer, _, output, _) in enumerate(plan.steps):
        seconds = medians_[index]
        print(f"| {layer} | {makers[output].kind} | {1e3 * seconds:.3f} | {100 * seconds / total:.0f} % |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--only", choices=WORK, nargs="*")
    given = parser.parse_args()
    wanted = given.only or WORK
    torch.set_num_threads(given.threads)
    print(f"{machine()}, numba {numba.__version__}, kernels {', '.join(runnable())}")
    if "product" in wanted:
        product(given.threads, given.rounds)
    if "bits" in wanted:
        few_bits(given.threads, given.rounds)
    if "convolution" in wanted:
        for batch in (1, 64):
            convolution(batch, given.threads, given.rounds)
    if "networks" in wanted:
        for name, model in networks().items():
            for batch in (1, 256):
                whole(name, model, batch, given.threads, given.rounds)
            if given.layers:
                for ends in ("float", "int8"):
                    packed = pack(model, torch.rand(100, 1, 28, 28), ends)
                    layers(f"{name}, {ends} ends", packed.network, given.rounds)


if __name__ == "__main__":
    main()
