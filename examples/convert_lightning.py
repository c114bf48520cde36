"""Train a converted model with Lightning: the module converts its network, Lightning notices nothing.

    python examples/convert_lightning.py

A small network with calls of functions in its code learns to tell the inside of a ring from its outside.
"""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import tieless as tl


class Network(nn.Module):
    """Two activations: one is a module, one a call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second, self.head = nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.silu(self.second(self.act(self.first(x)))))


def points(count: int, seed: int) -> TensorDataset:
    """Points of the plane, and whether they are in a ring."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) * 1.5
    radius = x.norm(dim=1)
    return TensorDataset(x, ((radius > 0.8) & (radius < 2)).long())


def main(epochs: int = 8) -> float:
    """Returns the accuracy on points that were not seen."""
    import pytorch_lightning as pl

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = tl.convert(Network(), {"act": "rectangular_jam(-2, 2)", "silu@1": "resilu2"}, strict=True)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            x, label = batch
            return F.cross_entropy(self.network(x), label)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    pl.seed_everything(0, verbose=False)
    model = Classifier()
    print(tl.conversion(model))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning would like more worker processes than this needs
        trainer.fit(model, DataLoader(points(2048, seed=1), batch_size=64, shuffle=True))
    x, label = points(512, seed=2).tensors
    accuracy = (model.network(x).argmax(1) == label).float().mean().item()
    print(f"accuracy on points that were not seen: {accuracy:.3f}")
    tl.revert(model)
    return accuracy


if __name__ == "__main__":
    main()
