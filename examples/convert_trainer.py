"""Train a converted model with the Trainer of transformers: nothing else about the script changes.

    python examples/convert_trainer.py

A small BERT, built from its configuration, learns which of two words is the more frequent one in a sentence.
"""

from __future__ import annotations

import os
import tempfile

import torch
from torch.utils.data import Dataset

import tieless as tl

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported, which reads it then


class Sentences(Dataset):
    """Words 1 and 2 among others; the label is which of them there is more of."""

    def __init__(self, count: int, seed: int) -> None:
        words = torch.randint(1, 8, (4 * count, 12), generator=torch.Generator().manual_seed(seed))
        more = (words == 2).sum(1) - (words == 1).sum(1)
        self.words, self.labels = words[more != 0][:count], (more > 0).long()[more != 0][:count]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def main(steps: int = 60) -> float:
    """Returns the accuracy on sentences that were not seen."""
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

    set_seed(0)
    config = BertConfig(
        vocab_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=2
    )
    model = tl.convert(
        BertForSequenceClassification(config), {"*.intermediate_act_fn": "regelu2"}, backward="rectangular"
    )
    print(tl.conversion(model))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            learning_rate=3e-3,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_steps=steps,
        )
        Trainer(model, arguments, train_dataset=Sentences(4096, seed=1)).train()
    model.eval()
    unseen = Sentences(512, seed=2)
    with torch.no_grad():
        right = model(unseen.words).logits.argmax(-1) == unseen.labels
    accuracy = right.float().mean().item()
    print(f"accuracy on sentences that were not seen: {accuracy:.3f}")
    tl.revert(model)  # a plain BERT again, with the weights that it has learnt
    return accuracy


if __name__ == "__main__":
    main()
