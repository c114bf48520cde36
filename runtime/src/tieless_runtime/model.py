"""A packed network that is loaded and can be run."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tieless_runtime import file, reference
from tieless_runtime.errors import PackedInputError
from tieless_runtime.network import Network


class Model:
    """Packed network that is ready to run: ``(n, ...) -> (n, scores)``, or one sample without the ``n``.

    Args:
        network: Network, from ``read`` or ``tieless.deploy.pack``.
    Example:
        >>> import tieless_runtime
        >>> tieless_runtime.Model.load("net.safetensors")(images)  # doctest: +SKIP
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Load a packed network.

        Args:
            path: Path of the file.
        Raises:
            PackedFileError: the file is no packed network that this version can run.
            OSError: the file cannot be read.
        """
        return cls(file.read(path))

    def __call__(self, images: ArrayLike) -> NDArray[Any]:
        """Scores of one sample or of a batch.

        Args:
            images: Samples, ``(n, ...)``, or one, of the shape of ``network.shape``; numbers that float32 holds.
        Returns:
            Scores ``(n, scores)``, or ``(scores,)``: float32, or int32 where the network is integer to its end.
        Raises:
            PackedInputError: the samples have another shape, or are no numbers.
        """
        batch, single = self._batch(images)
        scores = reference.evaluate(self.network, batch)[self.network.output]
        scores = scores if scores.dtype == np.float32 else scores.astype(np.int32)
        return scores[0] if single else scores

    def _batch(self, images: ArrayLike) -> tuple[NDArray[Any], bool]:
        given = np.asarray(images)
        if given.dtype.kind not in "fiub":
            raise PackedInputError(f"The samples must be numbers, got an array of {given.dtype}.")
        shape = self.network.shape
        single = given.shape == shape
        if not single and given.shape[1:] != shape:
            raise PackedInputError(f"The samples must have shape {('n', *shape)} or {shape}, got {given.shape}.")
        return np.ascontiguousarray(given[None] if single else given, np.float32), single
