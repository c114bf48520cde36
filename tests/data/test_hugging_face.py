"""Data sets that Hugging Face's package has saved to a folder: they are what the same arrays are as npz."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tieless.data import load

datasets = pytest.importorskip("datasets")

X = np.random.default_rng(0).random((40, 3)).astype(np.float32)
Y = np.arange(40) % 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("named", [False, True], ids=["integers", "named classes"])
@pytest.mark.parametrize("label", ["label", "labels"])
def test_what_it_saves_is_what_the_same_arrays_are(tmp_path, monkeypatch, label, named):
    monkeypatch.chdir(tmp_path)
    whole = datasets.Dataset.from_dict({"x": X, label: Y})
    if named:
        whole = whole.cast_column(label, datasets.ClassLabel(names=["a", "b", "c"]))
    parts = {"train": whole.select(range(30)), "test": whole.select(range(30, 40))}
    datasets.DatasetDict(parts).save_to_disk("./saved")
    np.savez("same.npz", train_x=X[:30], train_y=Y[:30], test_x=X[30:], test_y=Y[30:])
    found, same = load("./saved", seed=0), load("./same.npz", seed=0)
    for part in ("train_x", "train_y", "test_x", "test_y"):
        one, other = getattr(found, part), getattr(same, part)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert found.classes == same.classes == 3
