"""A packed network that is loaded and can be run."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tieless_runtime import file
from tieless_runtime.errors import PackedInputError
from tieless_runtime.network import Network
from tieless_runtime.paths import chosen, runnable

if TYPE_CHECKING:
    from tieless_runtime.plan import Plan


PART_BYTES = 2**22
"""Bytes of the values of as many samples as a thread computes at a time."""


class Model:
    """Packed network that is ready to run: ``(n, ...) -> (n, scores)``, or one sample without the ``n``.

    The kernels of a network are compiled at its first call, which takes seconds, and are kept on disk for later processes.

    Args:
        network: Network, from ``read`` or ``tieless.deploy.pack``.
        threads: Number of threads that share a batch.
        path: Name of the kernels' path: ``"avx512"``, ``"avx2"`` or ``"plain"``; ``None`` for the fastest of this CPU.
    Raises:
        PackedInputError: the number of threads is not 1 or more, or this CPU lacks the path.
    Example:
        >>> import tieless_runtime
        >>> tieless_runtime.Model.load("net.safetensors")(images)  # doctest: +SKIP
    """

    def __init__(self, network: Network, *, threads: int = 1, path: str | None = None) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PackedInputError(f"The number of threads must be 1 or more, got {threads!r}.")
        if not isinstance(network, Network):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PackedInputError(
                f"A model is made of a Network, which read returns and packed.network is, got {type(network).__name__}: "
                "Model.load takes the path of a file."
            )
        self.network = network
        self.threads = threads
        self.path = chosen(path)
        self._most = max(4 * value.size * max(1, value.times) for value in network.values.values())
        self._plan: Plan | None = None
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int = 1) -> Model:
        """Load a packed network.

        Args:
            path: Path of the file.
            threads: Number of threads that share a batch.
        Raises:
            PackedFileError: the file is no packed network that this version can run.
            OSError: the file cannot be read.
        """
        return cls(file.read(path), threads=threads)

    def __call__(self, images: ArrayLike) -> NDArray[Any]:
        """Scores of one sample or of a batch.

        Args:
            images: Samples, ``(n, ...)``, or one, of the shape of ``network.shape``; numbers that float32 holds.
        Returns:
            Scores ``(n, scores)``, or ``(scores,)``: float32, or int32 where the network is integer to its end.
        Raises:
            PackedInputError: the samples have another shape, are no numbers, or are not finite in float32.
        """
        batch, single = self._batch(images)
        if len(batch) == 0:
            return self(np.zeros((1, *self.network.shape)))[:0]
        plan = self._prepared()
        size = self._samples_at_a_time(len(batch))
        if len(batch) <= size:
            scores = plan.run(batch)
            return scores[0] if single else scores
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        found = list(map(plan.run, parts) if self.threads == 1 else self._threads().map(plan.run, parts))
        scores = np.concatenate(found)
        return scores[0] if single else scores

    def __reduce__(self) -> tuple[Any, ...]:
        # What is compiled stays behind, and so do threads.
        return _again, (self.network, self.threads, self.path)

    def _threads(self) -> ThreadPoolExecutor:
        """Threads of this process: a fork has none of those that its parent began."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads)
        return self._pool[1]

    def _prepared(self) -> Plan:
        if self._plan is None:
            from tieless_runtime.plan import Plan  # noqa: PLC0415  (Numba takes longer to import than all else)

            self._plan = Plan(self.network, self.path)
        return self._plan

    def _samples_at_a_time(self, count: int) -> int:
        return max(1, min(PART_BYTES // self._most, -(-count // self.threads)))

    def _batch(self, images: ArrayLike) -> tuple[NDArray[Any], bool]:
        try:
            given = np.asarray(images)
        except (ValueError, TypeError, RuntimeError) as error:
            # What another library's array says, which has gradients, or a dtype that NumPy lacks.
            raise PackedInputError(f"The samples must be one array of numbers: {error}") from None
        if given.dtype.kind not in "fiub":
            raise PackedInputError(f"The samples must be numbers, got an array of {given.dtype}.")
        shape = self.network.shape
        single = given.shape == shape
        if not single and given.shape[1:] != shape:
            raise PackedInputError(f"The samples must have shape {('n', *shape)} or {shape}, got {given.shape}.")
        return in_float32(given[None] if single else given), single


def _again(network: Network, threads: int, path: str) -> Model:
    """Model in another process, whose processor may lack the path."""
    return Model(network, threads=threads, path=path if path in runnable() else None)


def in_float32(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples ``(n, ...)`` in float32, each number of which lies on one side of any threshold.

    Raises:
        PackedInputError: a number is NaN, infinite, or too large for float32.
    """
    if samples.dtype == np.float32:
        found = np.ascontiguousarray(samples)
    else:
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(samples, np.float32)
    finite = np.isfinite(found)
    if not finite.all():
        sample, *place = map(int, np.argwhere(~finite)[0])
        raise PackedInputError(
            f"The samples must be finite numbers that float32 holds, got {samples[(sample, *place)]} in sample {sample} "
            f"at {place}: take such samples out, or put numbers in their place."
        )
    return found
