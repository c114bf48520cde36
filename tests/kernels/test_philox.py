"""Philox 4x32-10 against its authors' vectors, and what is made of its words."""

import pytest
import torch
from scipy import stats

from tieless.kernels.reference import philox, uniform

# The known-answer vectors of the authors' Random123 library, kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text):
    return tuple(torch.tensor(int(word, 16)) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    assert philox(_words(counter), _words(key)) == _words(answer)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_the_compiled_kernel(counter, key, answer):
    import numpy as np
    from numba import njit

    from tieless.kernels.numba_cpu import _words as compiled

    c = [np.uint64(int(word)) for word in _words(counter)]
    k = [np.uint64(int(word)) for word in _words(key)]

    @njit
    def run(block, stream, draw, key0, key1):
        return compiled(block, stream, draw, key0, key1)

    assert run(c[0] | c[1] << np.uint64(32), c[2], c[3], *k) == tuple(int(word) for word in _words(answer))


def test_numbers_are_uniform_on_the_half_open_interval():
    numbers = uniform(torch.empty(1 << 16), torch.tensor(42), stream=0, draw=0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("change", [{"key": 43}, {"stream": 1}, {"draw": 1}])
def test_another_key_stream_or_draw_gives_independent_numbers(change):
    base = {"key": 42, "stream": 0, "draw": 0}

    def numbers(key, stream, draw):
        return uniform(torch.empty(1 << 14), torch.tensor(key), stream, draw)

    one, other = numbers(**base), numbers(**(base | change))
    assert abs(stats.pearsonr(one.numpy(), other.numpy()).statistic) < 0.04


def test_negative_keys_are_their_64_bits():
    one = uniform(torch.empty(8), torch.tensor(-1), 0, 0)
    words = philox(_words("00000000 00000000 00000000 00000000"), _words("ffffffff ffffffff"))
    assert one[:4].tolist() == [int(word >> 8) * 2**-24 for word in words]
