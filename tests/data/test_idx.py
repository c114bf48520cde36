import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tieless.data.idx import header_size, parse_idx

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def encode(values):
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@settings(deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_what_was_written_is_read(shape, seed):
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    read = parse_idx(encode(values), shape)
    assert read.shape == shape
    assert np.array_equal(read.numpy(), values)


GOOD = encode(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "magic number 0x, expected 0x00000802", id="empty"),
        pytest.param(b"\x00\x00\x09\x02" + GOOD[4:], "magic number 0x00000902", id="signed bytes"),
        pytest.param(b"\x00\x00\x08\x01" + GOOD[4:], "magic number 0x00000801", id="one dimension"),
        pytest.param(b"\x1f\x8b\x08\x02" + GOOD[4:], "magic number 0x1f8b0802", id="still packed"),
        pytest.param(GOOD[:11], "11 bytes, expected a header of 12", id="cut header"),
        pytest.param(struct.pack(">HBBII", 0, 8, 2, 3, 2) + GOOD[12:], r"dimensions \(3, 2\)", id="transposed"),
        pytest.param(GOOD[:-1], "17 bytes, expected 18", id="one short"),
        pytest.param(GOOD + b"\x00", "19 bytes, expected 18", id="one over"),
    ],
)
def test_anything_else_is_refused(content, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_idx(content, (2, 3))


def test_the_header_has_a_number_for_each_dimension():
    assert [header_size(n) for n in (1, 2, 3)] == [8, 12, 16]
