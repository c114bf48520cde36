"""Networks with samples and scores, for the runtime on another machine: ``python -m tests.runtime.elsewhere FOLDER``.

Of each kind of layer and of weights there are some, with integer scores of the reference; and three networks as ``pack`` makes
them, with float scores of this machine. ``without_torch.py`` runs them there.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import tieless_runtime
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.runtime import layers
from tieless.deploy import pack
from tieless.models import MLP, ResidualCNN, SpikingCNN
from tieless.nn import quantize_weights

EXAMPLES = 8


def save(folder: Path, name: str, network: tieless_runtime.Network, images: np.ndarray, scores: np.ndarray) -> None:
    """Write the three files of a network."""
    tieless_runtime.write(network, folder / f"{name}.safetensors")
    np.save(folder / f"{name}.images.npy", images)
    np.save(folder / f"{name}.scores.npy", scores)


def draw(folder: Path, kind: str, weights: str) -> None:
    """Write networks of a kind of layer and of weights, with integer scores of the reference."""
    number = itertools.count()

    @seed(0)
    @settings(max_examples=EXAMPLES, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(drawn=layers.networks(kind, weights))
    def write(drawn: tuple[tieless_runtime.Network, np.ndarray]) -> None:
        network, images = drawn
        scores = tieless_runtime.evaluate(network, images)[network.output].astype(np.int32)
        save(folder, f"{kind}-{weights}-{next(number)}", network, images, scores)

    write()


def main(folder: Path) -> None:
    """Write the files of all networks."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, weights in itertools.product(layers.KINDS, layers.WEIGHTS):
        draw(folder, kind, weights)
    torch.manual_seed(0)
    images = torch.rand(8, 1, 28, 28)
    for name, model in (
        ("mlp", quantize_weights(MLP(784, (64, 64, 64), 10, "sign", "rectangular", norm="batch"))),
        ("cnn", quantize_weights(ResidualCNN("sign", "rectangular", width=8, bend=True))),
        ("snn", SpikingCNN(width=8)),
    ):
        packed = pack(model.eval(), images, weight_bits=4)
        save(folder, name, packed.network, images.numpy(), packed(images).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
