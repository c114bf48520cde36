"""IDX format: a magic number, the dimensions, then the bytes, as MNIST and its successors are published."""

from __future__ import annotations

import math
import struct

import torch
from torch import Tensor

_UNSIGNED_BYTES = 0x08


def header_size(dimensions: int) -> int:
    """Number of bytes before the first value: four of magic number, four for each dimension."""
    return 4 + 4 * dimensions


def parse_idx(content: bytes, shape: tuple[int, ...]) -> Tensor:
    r"""Read an IDX file of unsigned bytes whose shape is known.

    Args:
        content: Whole file, uncompressed.
        shape: Expected shape.
    Returns:
        Values as uint8, on the CPU.
    Raises:
        ValueError: magic number, dimensions or length differ; the message names the one that does.
    Source:
        http://yann.lecun.com/exdb/mnist/, "the IDX file format".
    Example:
        >>> parse_idx(b"\0\0\x08\x01" + b"\0\0\0\x03" + b"\x05\x06\x07", (3,))
        tensor([5, 6, 7], dtype=torch.uint8)
    """
    start = header_size(len(shape))
    magic = bytes((0, 0, _UNSIGNED_BYTES, len(shape)))
    if content[:4] != magic:
        raise ValueError(f"magic number 0x{content[:4].hex()}, expected 0x{magic.hex()}")
    if len(content) < start:
        raise ValueError(f"{len(content)} bytes, expected a header of {start}")
    found = struct.unpack_from(f">{len(shape)}I", content, 4)
    if found != shape:
        raise ValueError(f"dimensions {found}, expected {shape}")
    if len(content) != start + math.prod(shape):
        raise ValueError(f"{len(content)} bytes, expected {start + math.prod(shape)}")
    # A copy, as a tensor must be writable and bytes are not.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)
