"""Philox 4x32-10 against its authors' vectors, and what is made of its words."""

import pytest
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from scipy import stats

from tieless.kernels.lanes.random import philox as lanes_philox
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


@intrinsic
def _compiled(_context, c0, c1, c2, c3, key0, key1):
    """The kernels' Philox with one counter in all of its lanes, and what comes out of the last."""

    def lower(context, builder, sig, args):
        lanes = ir.VectorType(ir.IntType(64), 8)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        counter = [
            builder.shuffle_vector(
                builder.insert_element(ir.Constant(lanes, ir.Undefined), word, ir.IntType(32)(0)),
                ir.Constant(lanes, ir.Undefined),
                zeros,
            )
            for word in args[:4]
        ]
        (words,) = lanes_philox(builder, [counter], *args[4:])
        last = [builder.extract_element(word, ir.IntType(32)(7)) for word in words]
        return context.make_tuple(builder, sig.return_type, last)

    return types.UniTuple(types.int64, 4)(*[types.int64] * 6), lower


@njit
def _run(c0, c1, c2, c3, key0, key1):
    return _compiled(c0, c1, c2, c3, key0, key1)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_the_compiled_kernel(counter, key, answer):
    words = _run(*(int(word) for word in (*_words(counter), *_words(key))))
    assert tuple(word & 0xFFFFFFFF for word in words) == tuple(int(word) for word in _words(answer))


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
