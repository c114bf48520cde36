import pytest
import torch
from hypothesis import given, settings, strategies as st

from tieless.data import Dataset
from tieless.errors import RuleValueError


def numbered(n):
    """A data set whose samples are their own numbers."""
    x = torch.arange(n, dtype=torch.float32).unsqueeze(1)
    y = torch.arange(n)
    return Dataset("numbered", x, y, x[:0], y[:0], classes=n)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(n=st.integers(1, 200), batch=st.integers(1, 250), seed=st.integers(0, 2**63))
def test_an_epoch_has_every_sample_once_with_its_label(n, batch, seed):
    batches = list(numbered(n).batches(seeded(seed), batch))
    labels = torch.cat([y for _, y in batches])
    assert sorted(labels.tolist()) == list(range(n))
    assert torch.equal(torch.cat([x for x, _ in batches]).squeeze(1), labels.float())
    assert [len(y) for _, y in batches[:-1]] == [batch] * ((n - 1) // batch)
    assert 1 <= len(batches[-1][1]) <= batch


def order(data, generator, batch=7):
    return [y.tolist() for _, y in data.batches(generator, batch)]


def test_the_order_follows_from_the_generator():
    data = numbered(100)
    generator = seeded(1)
    first, second = order(data, generator), order(data, generator)
    assert first != second
    again = seeded(1)
    assert [order(data, again), order(data, again)] == [first, second]
    assert order(data, seeded(2)) != first


def test_the_order_is_one_permutation_whatever_the_batch():
    data = numbered(100)
    expected = torch.randperm(100, generator=seeded(3)).tolist()
    for batch in (1, 7, 100, 1000):
        assert [label for part in order(data, seeded(3), batch) for label in part] == expected


def test_the_order_is_drawn_when_asked_for_and_nothing_after():
    generator = seeded(4)
    batches = numbered(50).batches(generator, 10)
    state = generator.get_state()
    list(batches)
    assert torch.equal(generator.get_state(), state)
    assert not torch.equal(seeded(4).get_state(), state)


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_nothing_is_refused_at_once(batch):
    with pytest.raises(RuleValueError, match=f"batch must be at least 1, got {batch}"):
        numbered(3).batches(seeded(0), batch)
