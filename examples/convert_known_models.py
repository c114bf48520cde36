"""Convert models that nobody here wrote, and count their activations before and after.

    python examples/convert_known_models.py

They are built small from their configuration, with random weights; nothing is downloaded.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import tieless as tl

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported, which reads it then

Made = tuple[nn.Module, dict[str, Any]]


def resnet() -> Made:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic")
    return ResNetForImageClassification(config), {"pixel_values": torch.randn(2, 3, 32, 32)}


def convnext() -> Made:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2, layer_scale_init_value=1.0)
    return ConvNextForImageClassification(config), {"pixel_values": torch.randn(2, 3, 32, 32)}


def _encoder() -> dict[str, int]:
    return {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vit() -> Made:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(**_encoder(), image_size=16, patch_size=8)), {"pixel_values": torch.randn(2, 3, 16, 16)}


def bert() -> Made:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(**_encoder(), vocab_size=50, max_position_embeddings=16)
    return BertForMaskedLM(config), {"input_ids": torch.randint(0, 50, (2, 8))}


def gpt2() -> Made:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    config.use_cache = False
    return GPT2LMHeadModel(config), {"input_ids": torch.randint(0, 50, (2, 8))}


def llama() -> Made:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_encoder(), num_key_value_heads=2, vocab_size=50, use_cache=False)
    return LlamaForCausalLM(config), {"input_ids": torch.randint(0, 50, (2, 8))}


def transformer_encoder() -> Made:
    layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2), {"src": torch.randn(2, 8, 16)}


def gru() -> Made:
    class Tagger(nn.Module):
        """A GRU with a head, for there has to be something that can be reached."""

        def __init__(self) -> None:
            super().__init__()
            self.gru, self.act, self.head = nn.GRU(16, 16, num_layers=2, batch_first=True), nn.ReLU(), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.act(self.gru(x)[0]))

    return Tagger(), {"x": torch.randn(2, 8, 16)}


MODELS: dict[str, Callable[[], Made]] = {
    "transformers ResNet": resnet,
    "transformers ConvNeXt": convnext,
    "transformers ViT": vit,
    "transformers BERT": bert,
    "transformers GPT-2": gpt2,
    "transformers Llama": llama,
    "torch.nn.TransformerEncoder": transformer_encoder,
    "torch.nn.GRU, ReLU, Linear": gru,
}


def build(name: str) -> Made:
    """A model in training mode and arguments to call it with, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, arguments = MODELS[name]()
    return model.train(), arguments


def output_of(found: Any) -> torch.Tensor:
    """The tensor that a model gives, in whatever it is wrapped."""
    return found if isinstance(found, torch.Tensor) else found[0]


def main() -> None:
    print("| Model | Before | Converted | Left | Out of reach |")
    print("|---|---|---|---|---|")
    for name in MODELS:
        model, arguments = build(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tl.errors.UnreachedWarning)  # the last column has it
            tl.convert(model, backward="full_jam", example=arguments)
        done = tl.conversion(model)
        before = ", ".join(f"{count} {kind}" for kind, (count, _, _) in done.counts().items())
        unreached = "; ".join(map(str, done.unreached)) or "nothing"
        print(f"| {name} | {before} | {len(done.converted)} | {len(done.left)} | {unreached} |")
        output_of(model(**arguments)).sum().backward()
        tl.revert(model)


if __name__ == "__main__":
    main()
