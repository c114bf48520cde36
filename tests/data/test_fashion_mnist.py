import re

import numpy as np
import pytest
import torch

from tieless.data import is_available, load
from tieless.data.fashion_mnist import read_publication
from tieless.errors import DataError


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_images_become_floats_with_a_channel(small, machine, packed):
    small.put(machine.own, small.contents, packed=packed)
    data = read_publication(small.publication)
    images, labels = small.arrays["train-images-idx3-ubyte"], small.arrays["train-labels-idx1-ubyte"]
    assert (data.train_x.shape, data.test_x.shape) == ((50, 1, 4, 4), (20, 1, 4, 4))
    assert data.train_x.dtype == torch.float32
    assert np.array_equal(data.train_x.numpy()[:, 0], images.astype(np.float32) / np.float32(255))
    assert (data.train_y.dtype, data.train_y.tolist()) == (torch.int64, labels.tolist())
    assert data.test_y.tolist() == small.arrays["t10k-labels-idx1-ubyte"].tolist()


def test_a_process_reads_the_files_once_but_looks_where_they_are(small, machine, tmp_path, monkeypatch):
    small.put(machine.own, small.contents)
    first = read_publication(small.publication)
    assert read_publication(small.publication).train_x.data_ptr() == first.train_x.data_ptr()
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="TIELESS_DATA is set"):
        read_publication(small.publication)


def test_an_altered_file_is_refused_when_loaded(small, machine):
    name = "t10k-images-idx3-ubyte"
    small.put(machine.own, {**small.contents, name: small.contents[name][:-1] + b"\x00"})
    with pytest.raises(DataError, match=rf"{name} is not the published file.*Fetch it again: tieless data get small"):
        read_publication(small.publication)


@pytest.mark.usefixtures("machine")
def test_without_the_files_loading_says_how_to_get_them():
    expected = "fashion-mnist is not on this machine. Fetch it: tieless data get fashion-mnist"
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        load("fashion-mnist", seed=0)


@pytest.mark.skipif(
    not is_available("fashion-mnist"), reason="Fashion-MNIST is not here: tieless data get fashion-mnist"
)
def test_the_real_files_have_the_published_properties():
    data = load("fashion-mnist", seed=0)
    assert (data.name, data.classes) == ("fashion-mnist", 10)
    assert (data.train_x.shape, data.test_x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert data.train_y.bincount().tolist() == [6000] * 10
    assert data.test_y.bincount().tolist() == [1000] * 10
    assert data.train_y[:5].tolist() == [9, 0, 0, 3, 0]
    assert (data.train_x.min(), data.train_x.max()) == (0, 1)
    # The mean and deviation with which everybody normalises it.
    assert data.train_x.double().mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert data.train_x.double().std().item() == pytest.approx(0.3530, abs=5e-5)
