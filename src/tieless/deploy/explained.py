"""Bytes and bit operations of a packed network, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tieless_runtime import Network
from tieless_runtime.operations import Conv, Linear, Operation
from tieless_runtime.weights import Weight

from tieless._table import aligned


@dataclass(frozen=True, slots=True)
class ExplainedLayer:
    """One operation of a packed network.

    Args:
        name: Name of the layer in the model.
        kind: Kind of the operation.
        takes: Kind of its input: ``"float"``, ``"int"``, or the number of bits.
        weights: Kind of its weights; empty without any.
        stored_bytes: Bytes of its tensors in the file.
        float_bytes: Bytes of the same weights in float32.
        products: Number of products of a weight and an input for one sample.
        bit_operations: Number of products of one bit and one bit for one sample; 0 where it computes in numbers.
    Example:
        >>> from tieless.deploy import pack
        >>> from tieless.models import BinaryMLP
        >>> layer = pack(BinaryMLP(16, (32,), 4), torch.rand(8, 16), ends="int8").explain().layers[1]
        >>> layer.kind, layer.weights, layer.stored_bytes, layer.float_bytes
        ('linear', 'binary', 64, 2048)
    """

    name: str
    kind: str
    takes: str
    weights: str
    stored_bytes: int
    float_bytes: int
    products: int
    bit_operations: int


@dataclass(frozen=True, slots=True)
class ExplainedNetwork:
    """Operations of a packed network, and its layers that stay float.

    Args:
        layers: Operations in their order.
        kept_float: Name of each layer that computes in float32, and its reason.
    Example:
        >>> from tieless.deploy import pack
        >>> from tieless.models import BinaryMLP
        >>> print(pack(BinaryMLP(16, (32,), 4), torch.rand(8, 16), ends="int8").explain())
        layer   operation  takes  weights  bytes  of float32  bit operations
        1       quantise   float           0
        1       linear     int    binary   64     1/32.0      512 float
        3       threshold  int             160
        4       linear     1 bit  binary   16     1/32.0      128
        scores  affine     int             32
        <BLANKLINE>
        272 bytes in all, 128 bit operations a sample.
    """

    layers: tuple[ExplainedLayer, ...]
    kept_float: tuple[tuple[str, str], ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors in the file."""
        return sum(layer.stored_bytes for layer in self.layers)

    def __str__(self) -> str:
        titles = ("layer", "operation", "takes", "weights", "bytes", "of float32", "bit operations")
        rows = [
            (
                layer.name,
                layer.kind,
                layer.takes,
                layer.weights,
                str(layer.stored_bytes),
                f"1/{layer.float_bytes / layer.stored_bytes:.1f}" if layer.weights else "",
                str(layer.bit_operations) if layer.bit_operations else f"{layer.products} float" * bool(layer.products),
            )
            for layer in self.layers
        ]
        notes = [f"{name} stays float: {reason}." for name, reason in self.kept_float]
        total = f"{self.stored_bytes} bytes in all, {sum(layer.bit_operations for layer in self.layers)} bit operations a sample."
        return "\n".join([*aligned([titles, *rows]), "", total, *notes])


def explained(network: Network) -> ExplainedNetwork:
    """Bytes and bit operations of a packed network."""
    return ExplainedNetwork(tuple(_layer(network, operation) for operation in network.operations), network.kept_float)


def _layer(network: Network, operation: Operation) -> ExplainedLayer:
    value, result = network.values[operation.inputs[0]], network.values[operation.output]
    settings: list[Any] = [getattr(operation, field.name) for field in fields(operation)]
    stored: list[NDArray[Any]] = [
        each.stored() if isinstance(each, Weight) else each
        for each in settings
        if isinstance(each, (Weight, np.ndarray))
    ]
    takes = value.kind if value.kind != "code" else f"{value.planes} bit{'s' * (value.planes > 1)}"
    size = sum(array.nbytes for array in stored)
    if not isinstance(operation, (Linear, Conv)):
        return ExplainedLayer(operation.name, operation.kind, takes, "", size, 0, 0, 0)
    weight = operation.weight
    products = result.size * max(1, result.times) * math.prod(weight.shape[1:])
    in_bits = value.kind == "code" and weight.kind != "float"
    kind = f"{weight.bits} bits" if weight.kind == "integer" else weight.kind
    return ExplainedLayer(
        operation.name,
        operation.kind,
        takes,
        kind,
        size,
        4 * math.prod(weight.shape),
        products,
        products * value.planes * weight.planes * in_bits,
    )
