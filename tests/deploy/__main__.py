"""Labels of packed networks beside those of the networks that they come from: ``python -m tests.deploy``.

Each network of the zoo with steps or signs is trained by its own recipe, but shortly: ``--epochs`` and ``--subset`` say how long and on how many images. Then
it is packed, with float ends and with integer ends, and both are asked for the labels of all test images. A network with
float weights behind its steps is packed with weights of ``--bits`` bits; its labels are those of the PyTorch network with the
same rounded weights, and the accuracy of both is printed beside that of the float weights.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from pathlib import Path

import torch
from tieless_runtime import Model
from tieless_runtime.operations import Conv, Linear
from torch import Tensor, nn

from tieless.data import load
from tieless.deploy import Packed, pack
from tieless.deploy.grids import rounded_grid
from tieless.nn import freeze
from tieless.study import load_study
from tieless.study.running.training import run_trial
from tieless.study.trial import Trial

RECIPES = ("bnn-mlp", "bnn-cnn", "k-bit-cnn", "heaviside-lenet", "heaviside-cnn", "snn-cnn")


def trials(recipe: str) -> list[Trial]:
    """First trial of each network of a recipe that has steps or signs."""
    found: dict[tuple[str, str, str], Trial] = {}
    for trial in load_study(f"zoo/{recipe}").trials:
        if trial.forward != "relu":
            found.setdefault((trial.forward, trial.weights, trial.optimiser), trial)
    return list(found.values())


def trained(trial: Trial) -> nn.Module:
    """Network of a trial after its training."""
    kept: list[nn.Module] = []
    result = run_trial(trial, on_step=lambda _, network, __: kept.append(network) if not kept else None)
    if result.status != "done":
        raise SystemExit(f"{trial.model}: {result.error or result.status}")
    return freeze(kept[0]).eval()


def with_rounded_weights(model: nn.Module, packed: Packed, bits: int) -> nn.Module:
    """Copy of a network with the weights that were rounded when it was packed."""
    rounded = copy.deepcopy(model)
    for operation in packed.network.operations:
        if isinstance(operation, (Conv, Linear)) and operation.weight.bits == bits:
            layer = rounded.get_submodule(operation.name)
            grid = rounded_grid(layer.weight, bits)
            values = torch.from_numpy(grid.weight.values).float()
            layer.weight.data = values * grid.scale.reshape(-1, *(1,) * (values.dim() - 1))
    return rounded


def labels(call: object, images: Tensor) -> Tensor:
    """Labels of images, a thousand at a time."""
    with torch.no_grad():
        return torch.cat([torch.as_tensor(call(part)).argmax(1) for part in images.split(1000)])  # pyright: ignore[reportCallIssue]


def file_bytes(packed: Packed) -> int:
    """Bytes of the file of a packed network."""
    with tempfile.TemporaryDirectory() as folder:
        packed.save(Path(folder) / "net.safetensors")
        return (Path(folder) / "net.safetensors").stat().st_size


def rows(recipe: str, trial: Trial, bits: list[int]) -> list[str]:
    """Lines of the table for one network."""
    data = load(trial.data, seed=trial.seed)
    model, test = trained(trial), data.test_x
    float_bytes = 4 * sum(tensor.numel() for tensor in model.state_dict().values())
    float_labels = labels(model, test)
    needs_bits = any("weight_bits" in reason for _, reason in pack(model, data.train_x[:64]).kept_float)
    found = []
    for ends, k in [*(("float", k) for k in (bits if needs_bits else [None])), ("int8", None)]:
        packed = pack(model, data.train_x[:1000], ends, weight_bits=k)
        runtime = Model(packed.network)
        packed_labels = labels(lambda x, runtime=runtime: runtime(x.numpy()), test)
        judge = with_rounded_weights(model, packed, k) if k else model
        same = int((packed_labels == (labels(judge, test) if k else float_labels)).sum())
        accuracies = [100 * float((each == data.test_y).float().mean()) for each in (float_labels, packed_labels)]
        what = f"{trial.forward}, {trial.optimiser.partition('(')[0]}"
        size = file_bytes(packed)
        found.append(
            f"| {recipe} ({what}) | {ends} | {k or '-'} | {accuracies[0]:.2f} | {accuracies[1]:.2f} | {same} of {len(test)} | "
            f"{size} | 1/{float_bytes / size:.1f} |"
        )
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="recipes of the zoo; all, if none is named")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of training")
    parser.add_argument("--subset", type=int, default=5000, help="images of training")
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4, 3, 2], help="bits of rounded weights")
    given = parser.parse_args()
    print("| network | ends | bits | accuracy, PyTorch | packed | equal labels | bytes | of float32 |")
    print("|---|---|---|---|---|---|---|---|")
    for recipe in given.recipes:
        for trial in trials(recipe):
            short = dataclasses.replace(trial, epochs=given.epochs, subset=given.subset)
            rows(recipe, short, given.bits)


if __name__ == "__main__":
    main()
