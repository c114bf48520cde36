"""Bytes and tables as people read them."""

import pytest

from tieless._table import aligned
from tieless.diagnose.explaining.printed import amount


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (600 * 1024, "600.0 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40, "1.0 TiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_amounts(count, words):
    assert amount(count) == words


def test_columns_are_as_wide_as_their_widest_cell():
    assert aligned([("a", "long", "b"), ("longer", "c", "")]) == ["a       long  b", "longer  c"]
