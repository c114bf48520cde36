"""How much of the gradient of a layer's weights is its mean, sample for sample the same, and what is left without it?

python benchmarks/mean_component.py

With ``u`` what the rule sends and ``x`` the layer's input, the gradient is ``sum (u - mean u)(x - mean x)^T``, from which
samples can be told apart, and ``n (mean u)(mean x)^T``, which no sample has to itself. The table has, at the start of a network
of 20 logistic layers and by a batch of Fashion-MNIST, how far the inputs of a layer vary beside their mean, the norm of its
gradient, the share of its squared norm that is the second term, and the same gradient's norm under the recipe's rule.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from tieless.data import load
from tieless.models import MLP

DEPTH, WIDTH, SAMPLES, SEED = 20, 128, 512, 0
SHOWN = (0, 1, 4, 9, 14, 19)
RULES = ("tied", "constant", "constant >> centralize(dim=0)")


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and their labels."""
    data = load("fashion-mnist", seed=SEED, subset=SAMPLES)
    return data.train_x.double(), data.train_y


def measure(rule: str) -> list[tuple[float, float, float]]:
    """Of each hidden layer: variation of its inputs over their mean, norm of its gradient, share of the mean in it."""
    torch.manual_seed(SEED)
    net = MLP(784, (WIDTH,) * DEPTH, 10, "logistic", rule).double()
    inputs: dict[nn.Module, torch.Tensor] = {}
    outputs: dict[nn.Module, torch.Tensor] = {}

    def keep(layer: nn.Module, x: tuple[torch.Tensor], z: torch.Tensor) -> None:
        z.retain_grad()
        inputs[layer], outputs[layer] = x[0].detach(), z

    layers = [layer for layer in net if isinstance(layer, nn.Linear)][:-1]
    for layer in layers:
        layer.register_forward_hook(keep)
    images, labels = batch()
    nn.functional.cross_entropy(net(images), labels).backward()
    rows = []
    for layer in layers:
        x, u, gradient = inputs[layer], outputs[layer].grad, layer.weight.grad
        mean = len(x) * torch.outer(u.mean(0), x.mean(0))
        variation = (x - x.mean(0)).norm() / (len(x) ** 0.5 * x.mean(0).norm())
        rows.append((float(variation), float(gradient.norm()), float((mean.norm() / gradient.norm()) ** 2)))
    return rows


def main() -> None:
    """Print the table."""
    table = Table(title=f"Gradients of {DEPTH} logistic layers at their start, Fashion-MNIST, in float64")
    for heading in ("layer", "inputs vary by", *[f"{rule}: norm, mean" for rule in RULES]):
        table.add_column(heading, justify="right")
    found = [measure(rule) for rule in RULES]
    for layer in SHOWN:
        cells = [f"{rows[layer][1]:.1e}, {100 * min(rows[layer][2], 1):.1f} %" for rows in found]
        table.add_row(str(layer + 1), f"{found[0][layer][0]:.1e}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
