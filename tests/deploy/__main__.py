"""Labels of packed networks beside those of the networks that they come from: ``python -m tests.deploy``.

Each network of the zoo with steps or signs is trained by its own recipe, but shortly: ``--epochs`` and ``--subset`` say how long and on how many images. Then
it is packed, with float ends and with integer ends, and both are asked for the labels of all test images. A network with
float weights behind its steps is packed with weights of ``--bits`` bits; its labels are those of the PyTorch network with the
same rounded weights, and the accuracy of both is printed beside that of the float weights.

With float ends the bits behind each activation are compared too, with the model's in float32 and in float64. They may differ where
a number lies within rounding of its threshold, and behind such a bit. So of the bits that differ the first of each image have to be
those of float64, or their numbers within `ROUNDING`, or the command fails. Each label that differs from PyTorch's in float32 is
a line of its own.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from collections import Counter
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
ROUNDING = 2.0**-20
"""Distance from a threshold that counts as rounding, in units of the largest number in front of the activation."""


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
            weight = rounded.get_submodule(operation.name).weight
            grid = rounded_grid(weight.float(), bits)
            values = torch.from_numpy(grid.weight.values).to(weight.dtype)
            weight.data = values * grid.scale.to(weight.dtype).reshape(-1, *(1,) * (values.dim() - 1))
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


@dataclasses.dataclass(frozen=True)
class Call:
    """Call of an activation of a model: its name, or that of the cell whose spike it is, its input, and the codes behind it."""

    name: str
    activation: Activation
    z: Tensor

    def code(self, shift: float = 0.0) -> Tensor:
        """Codes; ``shift`` moves the input by so many times the largest number of its image."""
        most = self.z.abs().flatten(1).amax(1).reshape(-1, *(1,) * (self.z.dim() - 1))
        steps = steps_of(self.activation.forward_fn)
        assert steps is not None
        return steps.code(self.activation.forward_fn.value(self.z + shift * most))


def calls_of_model(model: nn.Module, images: Tensor) -> tuple[list[Call], Tensor]:
    """Calls of all activations that are steps, in their order, and labels."""
    found: list[Call] = []
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, Activation) and steps_of(module.forward_fn) is not None:
            called = name.removesuffix(".spike")
            hooks.append(
                module.register_forward_hook(lambda a, x, _, called=called: found.append(Call(called, a, x[0])))
            )
    with torch.no_grad():
        scores = model(images)
    for hook in hooks:
        hook.remove()
    return found, scores.argmax(1)


@dataclasses.dataclass
class Bits:
    """Numbers of bits: all, those that differ from the model's in float32 and in float64, the first of them in each image, and
    those of the first that are float64's or lie within rounding of a threshold.
    """

    all: int = 0
    single: int = 0
    double: int = 0
    first: int = 0
    near: int = 0

    def add(self, model: nn.Module, exact: nn.Module, network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
        """Count the bits of images; labels in float32 and in float64."""
        (singles, label), (doubles, label_exact) = (
            calls_of_model(model, images),
            calls_of_model(exact, images.double()),
        )
        calls = list(zip(singles, doubles, strict=True))
        times = Counter(call.name for call, _ in calls)
        packed = {name: iter(codes.chunk(times[name])) for name, codes in codes_of_network(network, images).items()}
        assert packed.keys() == times.keys()
        differed = torch.zeros(len(images), dtype=torch.bool)
        for single, double in calls:
            codes = next(packed[single.name])
            apart, apart_exact = codes != single.code(), codes != double.code()
            either = apart | apart_exact
            first = either & ~differed.reshape(-1, *(1,) * (codes.dim() - 1))
            # Where the bit is that of float64, PyTorch's float32 is what was rounded.
            near = ~apart_exact | (double.code(-ROUNDING) != double.code(ROUNDING)) if first.any() else first
            differed |= either.flatten(1).any(1)
            self.all += codes.numel()
            self.single += int(apart.sum())
            self.double += int(apart_exact.sum())
            self.first += int(first.sum())
            self.near += int((first & near).sum())
        return label, label_exact


def file_bytes(packed: Packed) -> int:
    """Bytes of the file of a packed network."""
    with tempfile.TemporaryDirectory() as folder:
        packed.save(Path(folder) / "net.safetensors")
        return (Path(folder) / "net.safetensors").stat().st_size


def compared(model: nn.Module, exact: nn.Module, network: Network, images: Tensor, found: Tensor) -> list[str]:
    """Cells on labels and bits of a packed network with float ends, and a line for each label that is not the model's."""
    bits = Bits()
    single, double = map(
        torch.cat, zip(*(bits.add(model, exact, network, part) for part in images.split(500)), strict=True)
    )
    for image in (found != single).nonzero().flatten().tolist():
        with torch.no_grad():
            alone = int(model(images[image : image + 1]).argmax())
        print(
            f"image {image}: packed {int(found[image])}, PyTorch {int(single[image])}, alone in its batch {alone}, in float64 {int(double[image])}"
        )
    if bits.near != bits.first:
        raise SystemExit(f"{bits.first - bits.near} bits differ whose numbers are not within rounding of a threshold.")
    count = len(images)
    return [
        f"{int((found == single).sum()):,} of {count:,}",
        f"{int((found == double).sum()):,}",
        f"{bits.single:,} of {bits.all:,}",
        f"{bits.double:,}",
        f"{bits.first:,}",
    ]


def rows(recipe: str, trial: Trial, bits: list[int], out: Path | None = None) -> None:
    """Print the lines of the table for one network, and keep its integer form in a file."""
    data = load(trial.data, seed=trial.seed)
    model, test = trained(trial), data.test_x
    exact = copy.deepcopy(model).double()
    float_bytes = 4 * sum(tensor.numel() for tensor in model.state_dict().values())
    float_labels = labels(model, test)
    needs_bits = any("weight_bits" in reason for _, reason in pack(model, data.train_x[:64]).kept_float)
    for ends, k in [*(("float", k) for k in (bits if needs_bits else [None])), ("int8", None)]:
        packed = pack(model, data.train_x[:1000], ends, weight_bits=k)
        runtime = Model(packed.network)
        found = labels(lambda x, runtime=runtime: runtime(x.numpy()), test)
        accuracies = [100 * float((each == data.test_y).float().mean()) for each in (float_labels, found)]
        size = file_bytes(packed)
        if ends == "float":
            judges = [with_rounded_weights(each, packed, k) if k else each for each in (model, exact)]
            cells = compared(*judges, packed.network, test, found)
        else:
            cells = [f"{int((found == float_labels).sum()):,} of {len(test):,}", *[""] * 4]
            if out is not None:
                packed.save(out)
        named = [f"`{recipe}` ({trial.forward}, {trial.optimiser.partition('(')[0]})", ends, str(k or "")]
        percent = [f"{accuracy:.2f}" for accuracy in accuracies]
        print(
            f"| {' | '.join([*named, *percent, *cells, f'{size:,}', f'1/{float_bytes / size:.1f}'])} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="recipes of the zoo; all, if none is named")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of training")
    parser.add_argument("--subset", type=int, default=5000, help="images of training")
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4, 3, 2], help="bits of rounded weights")
    parser.add_argument("--out", type=Path, help="folder for the networks with integer ends")
    given = parser.parse_args()
    titles = ["Network", "Ends", "Bits", "Accuracy, PyTorch", "Packed", "Equal labels", "In float64"]
    titles += ["Bits that differ", "In float64", "First", "Bytes", "Of float32"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    for recipe in given.recipes:
        for number, trial in enumerate(trials(recipe)):
            short = dataclasses.replace(trial, epochs=given.epochs, subset=given.subset)
            name = f"{recipe.replace('-', '_')}_{number}.safetensors"
            rows(recipe, short, given.bits, None if given.out is None else given.out / name)


if __name__ == "__main__":
    main()
