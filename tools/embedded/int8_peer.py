"""The perceptron of the zoo in int8, as a public generator writes it in C: rows for the table of `run.py`.

    python3 -m venv build/emx && build/emx/bin/pip install emx-onnx-cgen==1.4.0
    python tools/embedded/int8_peer.py [--epochs 12] [--images 200]

The network is the twin of `zoo/bnn-mlp` with float weights and ReLU, trained alike. Batch norm is folded, ONNX Runtime rounds weights
(one scale an output) and activations to 8 bits, and emx-onnx-cgen writes the C file. Its input are the bytes of an image and its scores
bytes, so nothing is converted at its ends. Scores have to be ONNX Runtime's.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from run import EMULATED, HOSTS, row
from torch import nn

from tieless.data import load
from tieless.deploy import CProgram
from tieless.study import load_study
from tieless.study.running.training import run_trial

GENERATOR = Path("build/emx/bin/emx-onnx-cgen")
NAME = "int8"
HEADER = f"""#include <stdint.h>
#define {NAME.upper()}_INPUTS 784
#define {NAME.upper()}_SCORES 10
void {NAME}_run(const uint8_t *input, int32_t *scores);
"""
CALL = f"""
void {NAME}_run(const uint8_t *input, int32_t *scores)
{{
    uint8_t found[1][10];
    int i;
    {NAME}((const uint8_t (*)[784])input, found);
    for (i = 0; i < 10; i++) scores[i] = found[0][i];
}}
"""


def twin(epochs: int) -> nn.Sequential:
    """Perceptron with ReLU after its training, batch norm folded."""
    trial = load_study("zoo/bnn-mlp").trials[0]
    settings = {"forward": "relu", "backward": "tied", "weights": "float", "epochs": epochs}
    kept: list[nn.Module] = []
    run_trial(
        dataclasses.replace(trial, **settings),
        on_step=lambda _, network, __: kept.append(network) if not kept else None,
    )
    layers: list[nn.Module] = []
    for layer in kept[0].eval().children():
        if isinstance(layer, nn.BatchNorm1d):
            linear = layers.pop()
            assert isinstance(linear, nn.Linear)
            layers.append(torch.nn.utils.fuse_linear_bn_eval(linear, layer))
        elif isinstance(layer, nn.Linear):
            layers.append(layer)
        elif not isinstance(layer, nn.Flatten):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).eval()


class Samples(quantization.CalibrationDataReader):
    """Samples by which ranges are found."""

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self.left = [{"x": sample[None]} for sample in samples]

    def get_next(self) -> Any:
        """One of those that are left."""
        return self.left.pop() if self.left else None


def from_bytes_to_bytes(path: Path) -> None:
    """Take the conversions from float and to float off a quantised network."""
    model = onnx.load(path)
    graph = model.graph
    first, last = graph.node[0], graph.node[-1]
    assert (first.op_type, last.op_type) == ("QuantizeLinear", "DequantizeLinear")
    scale = next(each for each in graph.initializer if each.name == first.input[1])
    assert abs(float(onnx.numpy_helper.to_array(scale)) * 255 - 1) < 1e-6
    graph.input[0].name, graph.output[0].name = first.output[0], last.input[0]
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    graph.node.remove(first)
    graph.node.remove(last)
    onnx.save(model, path)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12, help="epochs of training [12]")
    parser.add_argument("--images", type=int, default=200, help="images in each emulator [200]")
    options = parser.parse_args()
    samples = load("fashion-mnist", seed=0)
    network = twin(options.epochs)
    images = np.rint(samples.test_x.numpy().reshape(-1, 784) * 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        plain, whole, source = (Path(folder) / name for name in ("plain.onnx", "int8.onnx", "int8.c"))
        torch.onnx.export(
            network, (torch.zeros(1, 784),), plain, dynamo=True, input_names=["x"], verbose=False, external_data=False
        )
        quantization.quantize_static(
            plain,
            whole,
            Samples(samples.train_x[:1000].reshape(-1, 784).numpy()),
            quant_format=quantization.QuantFormat.QOperator,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
        )
        from_bytes_to_bytes(whole)
        # Tables and working memory in the program, neither in a file nor on a heap.
        flags = ("--model-name", NAME, "--large-temp-threshold", "0", "--large-weight-threshold", "0")
        subprocess.run([GENERATOR, "compile", whole, source, *flags], check=True, capture_output=True)
        program = CProgram(NAME, HEADER, source.read_text() + CALL, 0, 0)
        session = onnxruntime.InferenceSession(whole)
    name = session.get_inputs()[0].name
    expected = np.concatenate([session.run(None, {name: image[None]})[0] for image in images]).astype(np.int32)
    with torch.no_grad():
        right = (network(samples.test_x.flatten(1)).argmax(1) == samples.test_y).double().mean()
    print(
        f"accuracy in float {100 * float(right):.2f} %, in int8 {100 * (expected.argmax(1) == samples.test_y.numpy()).mean():.2f} %"
    )
    for target in (HOSTS[0], *EMULATED):
        count = options.images if target.emulator else len(images)
        print(f"| {' | '.join(row(target, program, images[:count], expected[:count], warnings=()))} |", flush=True)


if __name__ == "__main__":
    main()
