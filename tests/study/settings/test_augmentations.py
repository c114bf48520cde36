"""Augmentations: what they do to each image, and that nothing else depends on them."""

import pytest
import torch
from hypothesis import given, strategies as st

from tieless.errors import RuleValueError
from tieless.study.settings.augmentations import augmentations, augmented


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 1000), pixels=st.integers(1, 4))
def test_a_shift_moves_each_image_as_a_whole(seed, pixels):
    """A lone pixel in the middle: where it is afterwards tells the move, and both channels have the same."""
    x = torch.zeros(20, 2, 11, 9)
    x[:, :, 5, 4] = torch.tensor([1.0, 2.0])
    moved = augmented(x, augmentations(f"shift({pixels})"), _generator(seed))
    assert moved.shape == x.shape
    places = moved[:, 0].nonzero()
    assert torch.equal(places, moved[:, 1].nonzero())
    assert torch.equal(places[:, 0], torch.arange(20))
    assert (places[:, 1:] - torch.tensor([5, 4])).abs().max() <= pixels
    assert torch.equal(moved.sum((2, 3)), x.sum((2, 3)))


def test_a_shift_reaches_every_place_and_fills_with_zeros():
    x = torch.ones(4000, 1, 5, 5)
    moved = augmented(x, augmentations("shift(1)"), _generator())
    # Of nine moves, one keeps all 25 pixels, four lose a side of 5, four lose two sides, 9.
    counts = {pixels: int((moved.sum((1, 2, 3)) == pixels).sum()) for pixels in (25, 20, 16)}
    assert sum(counts.values()) == 4000
    assert counts[25] == pytest.approx(4000 / 9, rel=0.2)
    assert counts[20] == pytest.approx(4 * 4000 / 9, rel=0.1)


def test_a_flip_mirrors_about_half_of_the_images():
    x = torch.rand(1000, 1, 3, 4)
    flipped = augmented(x, augmentations("flip"), _generator())
    same = (flipped == x).all(3).all(2).all(1)
    mirrored = (flipped == x.flip(3)).all(3).all(2).all(1)
    assert bool((same ^ mirrored).all())
    assert int(mirrored.sum()) == pytest.approx(500, abs=80)


def test_equal_generators_give_equal_images_and_none_draws_nothing():
    x = torch.rand(8, 1, 6, 6)
    both = augmentations("shift(2) >> flip")
    assert torch.equal(augmented(x, both, _generator(3)), augmented(x, both, _generator(3)))
    generator = _generator()
    before = generator.get_state()
    assert augmented(x, augmentations("none"), generator) is x
    assert torch.equal(generator.get_state(), before)


def test_what_is_no_image_is_refused():
    with pytest.raises(RuleValueError, match=r"flip needs images, .* the data has \(64,\)"):
        augmented(torch.rand(4, 64), augmentations("flip"), _generator())
    assert augmented(torch.rand(4, 64), augmentations("none"), _generator()).shape == (4, 64)
