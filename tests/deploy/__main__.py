"""Labels of packed networks beside those of the networks that they come from: ``python -m tests.deploy``.

Each network of the zoo with steps or signs is trained by its own recipe, but shortly: ``--epochs`` and ``--subset`` say how long and on how many images. Then
it is packed, with float ends and with integer ends, and both are asked for the labels of all test images. A network with
float weights behind its steps is packed with weights of ``--bits`` bits; its labels are those of the PyTorch network with the
same rounded weights, and the accuracy of both is printed beside that of the float weights. With float ends the bits behind each
activation are compared too: they may differ where a sum lies within rounding of its threshold, and where such a bit is an input.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from tieless_runtime import Model, Network
from tieless_runtime.network import INPUT
from tieless_runtime.operations import Conv, Lif, Linear, Threshold
from tieless_runtime.plan import Plan
from torch import Tensor, nn

from tieless.data import load
from tieless.deploy import Packed, pack
from tieless.deploy.grids import rounded_grid
from tieless.deploy.thresholds import steps_of
from tieless.nn import Activation, freeze
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


def codes_of_network(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Codes behind each activation of a packed network, by the activation's name; time steps first."""
    plan = Plan(network, Model(network).path)
    held = {
        INPUT: np.ascontiguousarray(images.numpy().reshape(len(images), -1, *images.shape[2:]).transpose(0, 2, 3, 1))
    }
    for _, inputs, output, step in plan.steps:
        held[output] = step([held[name] for name in inputs])
    found = {}
    for operation in network.operations:
        if isinstance(operation, (Threshold, Lif)):
            value = network.values[operation.output]
            numbers = torch.from_numpy(plan._numbers(held[operation.output], operation.output))
            found[operation.name] = (numbers - value.low) // value.step
    return found


def codes_of_model(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Codes behind each activation of a model, by the name of the activation or of the cell whose spike it is."""
    found: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        steps = steps_of(module.forward_fn) if isinstance(module, Activation) else None
        if steps is not None:
            calls = found.setdefault(name.removesuffix(".spike"), [])
            hooks.append(module.register_forward_hook(lambda _, __, y, c=calls, s=steps: c.append(s.code(y))))
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(calls) for name, calls in found.items()}


def different_bits(model: nn.Module, network: Network, images: Tensor) -> tuple[int, int]:
    """Number of codes of a packed network that are not the model's, and of all."""
    different, count = 0, 0
    for part in images.split(500):
        expected, found = codes_of_model(model, part), codes_of_network(network, part)
        assert expected.keys() == found.keys()
        different += sum(int((found[name] != code).sum()) for name, code in expected.items())
        count += sum(code.numel() for code in expected.values())
    return different, count


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
        bits_apart = "{} of {}".format(*different_bits(judge, packed.network, test)) if ends == "float" else "-"
        found.append(
            f"| {recipe} ({what}) | {ends} | {k or '-'} | {accuracies[0]:.2f} | {accuracies[1]:.2f} | {same} of {len(test)} | "
            f"{bits_apart} | {size} | 1/{float_bytes / size:.1f} |"
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
    print(
        "| network | ends | bits | accuracy, PyTorch | packed | equal labels | bits that differ | bytes | of float32 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for recipe in given.recipes:
        for trial in trials(recipe):
            short = dataclasses.replace(trial, epochs=given.epochs, subset=given.subset)
            rows(recipe, short, given.bits)


if __name__ == "__main__":
    main()
