"""``pack``: a trained network of Heaviside and sign units as a packed network, which runs in bits and without PyTorch."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from tieless_runtime import Model, Network, PackedFileError
from tieless_runtime.file import packed_bytes
from torch import Tensor, nn

from tieless._files import write_whole
from tieless.deploy.explained import ExplainedNetwork, explained
from tieless.deploy.fold import Folder
from tieless.deploy.graph import Graph
from tieless.deploy.operators import DENSE, is_dense, named, read_graph
from tieless.errors import DeployError

Ends = Literal["float", "int8"]

FRACTIONS = range(20, 3, -2)
"""Numbers of binary places that are tried for the numbers between layers, the largest that fits in 32 bits first."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Packed network, as ``pack`` returns it.

    Args:
        network: Operations and weights, which ``tieless_runtime`` runs.
    Attributes:
        kept_float: Name of each layer that computes in float32, and its reason.
    Example:
        >>> from tieless.deploy import pack
        >>> from tieless.models import BinaryMLP
        >>> net, x = BinaryMLP(16, (32,), 4).eval(), torch.rand(8, 16)
        >>> packed = pack(net, x)
        >>> torch.allclose(packed(x), net(x))
        True
        >>> packed.explain().stored_bytes
        272
    """

    network: Network

    @property
    def kept_float(self) -> tuple[tuple[str, str], ...]:
        return self.network.kept_float

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the packed network to a safetensors file, which ``tieless_runtime.Model.load`` reads.

        Args:
            path: Path of the file, which is replaced if it exists, once all of the new one is written.
        """
        write_whole(Path(path), packed_bytes(self.network))

    def explain(self) -> ExplainedNetwork:
        """Bytes and bit operations of each layer, and the layers that stay float with their reasons; print it."""
        return explained(self.network)

    def __call__(self, x: Tensor) -> Tensor:
        """Scores of samples, computed without PyTorch: ``(n, ...) -> (n, classes)``.

        Raises:
            DeployError: the samples are no tensor of numbers.
            PackedInputError: they have another shape, or are not finite.
        """
        if not is_dense(x):
            raise DeployError(f"The samples must be {DENSE}, got {named(x)}.")
        numbers = x.detach().cpu()
        # NumPy has no bfloat16.
        numbers = numbers.float() if numbers.dtype == torch.bfloat16 else numbers
        return torch.from_numpy(Model(self.network)(numbers.numpy()))  # pyright: ignore[reportUnknownMemberType]


def pack(model: nn.Module, example: Tensor, ends: Ends = "float", *, weight_bits: int | None = None) -> Packed:
    """Pack a trained model: weights and activations of few values become bits, all that lies between them thresholds.

    Batch norm, bias, scale and activation are folded into one integer threshold of each channel, found by PyTorch's own
    evaluation, so that ties are PyTorch's. The model stays as it is; a frozen copy in evaluation mode is packed.

    Layers beside whose inputs are steps or signs are packed if their weights are binary, ternary, or integers of at most
    8 bits times a scale. All others stay float, and ``kept_float`` names them with the reason.

    Args:
        model: Model with one input and one output, made of linear layers, convolutions in one or two dimensions and
            zeros padded in front of them, batch norm, ``Activation`` with a step function, pooling, PReLU, LeakyReLU,
            ReLU, sums, joining, flattening, and ``LIF.over_time``.
        example: Batch of samples, ``(n, ...)``. Its range is that of the integers with ``ends="int8"``.
        ends: ``"float"`` keeps first and last layer in float32. ``"int8"`` rounds their weights and inputs to 8 bits,
            and all numbers between layers to a fixed point: the whole network is integer, and exact everywhere.
        weight_bits: Bits to which float weights behind a step function are rounded, 2 to 8, with a scale of each output.
            ``None`` keeps them, or rounds them to 8 bits with ``ends="int8"``.
    Returns:
        The packed network.
    Raises:
        DeployError: the model does something that no packed network can do, or an argument is wrong.
    Example:
        >>> from tieless.deploy import pack
        >>> from tieless.models import BinaryMLP
        >>> net = BinaryMLP(16, (32,), 4)
        >>> packed = pack(net, torch.rand(8, 16))
        >>> packed(torch.rand(3, 16)).shape
        torch.Size([3, 4])
        >>> packed.kept_float
        (('1', "it is the first layer, whose input is float: ends='int8' makes it integer"),)
    """
    if ends not in get_args(Ends):
        raise DeployError(f"ends must be one of {', '.join(get_args(Ends))}, got {ends!r}.")
    if weight_bits is not None and weight_bits not in range(2, 9):
        raise DeployError(f"weight_bits must be 2 to 8, or None, got {weight_bits!r}.")
    graph = read_graph(model, example)
    if ends == "float":
        try:
            return Packed(Folder(graph, weight_bits, None).fold())
        except PackedFileError as error:
            raise DeployError(f"The model cannot be packed: {error}.") from None
    found = ""
    for fraction in FRACTIONS:
        found = _in_integers(graph, weight_bits, fraction)
        if isinstance(found, Packed):
            return found
    with suppress(PackedFileError):
        Folder(graph, weight_bits, None).fold()
        found = f"{found}; ends='float' can pack it"
    raise DeployError(f"The model cannot be packed in integers: {found}.")


def _in_integers(graph: Graph, weight_bits: int | None, fraction: int) -> Packed | str:
    """Packed network with this number of binary places, or the reason for which there is none."""
    try:
        return Packed(Folder(graph, weight_bits, fraction).fold())
    except OverflowError as error:
        return f"the numbers of {error} do not fit in integers of 32 bits"
    except PackedFileError as error:
        return str(error)
