"""How fast is larq-compute-engine's interpreter at the convolution of `packed_networks.py`? In an environment of its own.

    python3 -m venv build/larq
    build/larq/bin/pip install "tensorflow-cpu==2.15.1" "numpy<2" larq==0.14.0 larq-compute-engine==0.16.0 ./runtime
    build/larq/bin/python benchmarks/larq/convolution.py

Both take the same signs as float32, channels last, on one thread, and give the same sums. Medians of calls that take turns, timed by what they have of the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import larq
import larq_compute_engine
import numpy as np
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter
from tieless_runtime.bits import BitProduct
from tieless_runtime.kernels import rows
from tieless_runtime.operations import Conv
from tieless_runtime.paths import runnable
from tieless_runtime.values import codes
from tieless_runtime.weights import Weight

CHANNELS, SIZE = 128, 28
KERNELS = {
    "larq-compute-engine": {},
    "larq-compute-engine, indirect": {"use_indirect_bgemm": True},
    "larq-compute-engine, reference": {"use_reference_bconv": True},
}


def signs(*shape: int) -> np.ndarray:
    """Random -1 and 1, float32."""
    return np.random.default_rng(0).choice(np.float32([-1, 1]), shape)


def ours(kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sums of signs, which are packed here."""
    value = codes((CHANNELS, SIZE, SIZE), -1, 2, 1)
    weight = Weight("binary", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)).astype(np.int8))
    sizes = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    operation = Conv(name="", inputs=("x",), output="y", weight=weight, bias=None, **sizes)
    product = BitProduct(operation, value, (SIZE, SIZE), None, runnable()[0])
    edges, up = np.zeros(CHANNELS, np.float32), np.full(CHANNELS // 16, 0xFFFF)

    def call() -> np.ndarray:
        words = np.empty((x.size // CHANNELS, CHANNELS // 64), np.uint64)
        rows.one_bit(x, edges, up, True, len(words), words)
        return product(words.reshape(1, *x.shape[:-1], -1))

    return call


def turn(call: Callable[[], object], least: float = 0.01) -> float:
    """Seconds of one of the calls that take ``least`` seconds of the processor, or of the one that takes more."""
    start, calls, taken = time.process_time(), 0, 0.0
    while taken < least:
        call()
        calls, taken = calls + 1, time.process_time() - start
    return taken / calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, help="calls of each [21]")
    given = parser.parse_args()
    kernel = signs(3, 3, CHANNELS, CHANNELS)
    layer = larq.layers.QuantConv2D(
        CHANNELS,
        3,
        padding="same",
        pad_values=0,
        input_quantizer="ste_sign",
        kernel_quantizer="ste_sign",
        use_bias=False,
        input_shape=(SIZE, SIZE, CHANNELS),
    )
    model = tf.keras.Sequential([layer])
    layer.set_weights([kernel])
    flat = larq_compute_engine.convert_keras_model(model)
    print(
        f"larq-compute-engine {version('larq-compute-engine')}, tensorflow {tf.__version__}, kernels of ours: {runnable()[0]}"
    )
    print("\n| Batch | | ms | times ours |\n|---|---|---|---|")
    for batch in (1, 64):
        x = signs(batch, SIZE, SIZE, CHANNELS)
        cases = {"ours": ours(kernel, x)}
        for name, flags in KERNELS.items():
            interpreter = Interpreter(flat, num_threads=1, **flags)
            cases[name] = lambda interpreter=interpreter, x=x: interpreter.predict(x)
        expected = cases["ours"]()
        for name, call in cases.items():
            assert (call() == expected).all(), name
        taken = {name: [] for name in cases}
        for _ in range(given.rounds):
            for name, call in cases.items():
                taken[name].append(turn(call))
        times = {name: statistics.median(each) for name, each in taken.items()}
        for name, seconds in times.items():
            print(f"| {batch} | {name} | {1e3 * seconds:.3f} | {seconds / times['ours']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
