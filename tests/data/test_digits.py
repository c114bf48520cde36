import torch
from sklearn.datasets import load_digits

from tieless.data import load


def rows(x, y):
    return sorted((*pixels, label) for pixels, label in zip(x.tolist(), y.tolist(), strict=True))


def test_both_parts_together_are_scikit_learns_digits():
    data = load("digits", seed=0)
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    bundle = load_digits()
    assert rows(x * 16, y) == rows(bundle.data, bundle.target)


def test_shapes_types_and_split():
    data = load("digits", seed=0)
    assert (data.name, data.classes) == ("digits", 10)
    assert (data.train_x.shape, data.test_x.shape) == ((1437, 64), (360, 64))
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)
    assert (data.train_x.min(), data.train_x.max()) == (0, 1)


def test_the_seed_draws_the_split():
    one, same, other = load("digits", seed=1), load("digits", seed=1), load("digits", seed=2)
    assert torch.equal(one.train_x, same.train_x)
    assert torch.equal(one.test_y, same.test_y)
    assert rows(one.test_x, one.test_y) != rows(other.test_x, other.test_y)
