"""MNIST-1D: the samples of its package, which are the published ones, and random states that it leaves as they were."""

import random

import numpy as np
import pytest
import torch
from mnist1d.data import get_dataset_args, make_dataset
from sklearn.linear_model import LogisticRegression

from tieless.data import load
from tieless.errors import RuleValueError


def test_the_samples_are_those_of_the_package():
    data = load("mnist1d", seed=0)
    made = make_dataset(get_dataset_args())
    assert (data.name, data.classes) == ("mnist1d(5000)", 10)
    for ours, theirs in ((data.train_x[:, 0], made["x"]), (data.test_x[:, 0], made["x_test"])):
        torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float32), rtol=0, atol=0)
    assert data.train_y.tolist() == made["y"].tolist()
    assert data.test_y.tolist() == made["y_test"].tolist()


def test_shapes_types_and_split():
    data = load("mnist1d", seed=0)
    assert (data.train_x.shape, data.test_x.shape) == ((4000, 1, 40), (1000, 1, 40))
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)
    small = load("mnist1d(n=100)", seed=0)
    assert small.train_x.shape == (80, 1, 40)
    assert torch.cat([small.train_y, small.test_y]).bincount().tolist() == [10] * 10
    assert abs(float(torch.cat([data.train_x, data.test_x]).mean())) < 1e-5


def test_a_linear_classifier_has_the_published_accuracy():
    """32 % by its author, give or take the noise of 1,000 samples."""
    data = load("mnist1d", seed=0)
    model = LogisticRegression(max_iter=300).fit(data.train_x[:, 0].numpy(), data.train_y.numpy())
    assert 0.27 < model.score(data.test_x[:, 0].numpy(), data.test_y.numpy()) < 0.37


def test_random_states_are_left_as_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    load("mnist1d(n=60)", seed=0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_a_number_of_samples_that_gives_no_classes_is_refused():
    for n in (0, 40, 55):
        with pytest.raises(RuleValueError, match="n of at least 50, as many of each of ten classes"):
            load(f"mnist1d(n={n})", seed=0)
