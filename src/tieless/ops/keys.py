"""Source of a call's key: the CPU's generator, or, in a captured CUDA graph, a place that each replay fills."""

from __future__ import annotations

import threading
from types import TracebackType

import torch
from torch import Tensor

from tieless.errors import TransformError

_ROOM = 256
"""Number of keys in a block: the storage grows by blocks."""


class _Box(threading.local):
    """Storage for one key: making a tensor for each takes as long as drawing it."""

    key: Tensor | None = None


_box = _Box()


def number(generator: torch.Generator | None = None) -> int:
    """Key of 64 bits from which a call's random numbers follow, drawn now.

    It comes from the CPU's generator: one seed gives one key on every device, and reading it never waits for a GPU.
    """
    room = _box.key
    if room is None:
        # An ordinary tensor: one that is made under inference mode could be written there alone.
        with torch.inference_mode(mode=False):
            room = _box.key = torch.empty((), dtype=torch.int64, device="cpu")
    return int(room.random_(-(2**63), None, generator=generator).item())


class GraphKeys:
    """Random numbers for a CUDA graph: calls that draw can be captured, and each replay has numbers of its own.

    While it is entered, a call of an activation, a rule or feedback weights that draws reads its key from a place on
    the GPU. ``replay`` draws the keys from the generators that the calls would have drawn them from, in the order of
    the calls, and starts the graph. So a captured step has the numbers of the step that is written, bit for bit, and
    leaves the generators as that does. A capture itself computes nothing and draws nothing.

    Replay by ``replay`` alone: ``graph.replay()`` repeats the keys of the last one, and before the first there are
    none.

    Raises:
        TransformError: the context is entered inside of another one, or again after a capture.
    Example:
        >>> def capture(step):
        ...     keys, graph = tl.GraphKeys(), torch.cuda.CUDAGraph()
        ...     with torch.cuda.graph(graph), keys:
        ...         step()
        ...     return lambda: keys.replay(graph)
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._generators: list[torch.Generator] = []
        self._places: dict[tuple[torch.Generator, int], int] = {}
        self._before: dict[torch.Generator, Tensor] = {}

    def __enter__(self) -> GraphKeys:
        global _holder  # noqa: PLW0603  (one for all threads: backward passes, which may draw again, have their own)
        if _holder is not None:
            raise TransformError("GraphKeys is entered already. Capture one graph at a time.")
        if self._places:
            raise TransformError("These GraphKeys hold the keys of a graph already. Make others for another graph.")
        _holder = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _holder  # noqa: PLW0603
        _holder = None
        for generator, state in self._before.items():
            generator.set_state(state)
        self._before.clear()

    def replay(self, graph: torch.cuda.CUDAGraph) -> None:
        """Draw the keys of one pass and start the graph with them.

        Args:
            graph: Graph that was captured while this was entered.
        """
        self._fill()
        graph.replay()

    def _fill(self) -> None:
        drawn = torch.tensor([number(generator) for generator in self._generators], dtype=torch.int64, device="cpu")
        for block, numbers in zip(self._blocks, torch.split(drawn, _ROOM), strict=True):
            # From pinned memory, which a copy need not wait for.
            source = numbers.pin_memory() if block.is_cuda else numbers
            block[: len(numbers)].copy_(source, non_blocking=True)

    def place(self, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Place for the key of the call that draws now: int64, 0-dim.

        A checkpoint draws again what its first pass has drawn, from the state of the generator before that. So the
        number which is drawn names the place, and both passes read one.
        """
        drawn_from = torch.default_generator if generator is None else generator
        self._before.setdefault(drawn_from, drawn_from.get_state())
        place = self._places.setdefault((drawn_from, number(drawn_from)), len(self._places))
        if place == len(self._generators):
            self._generators.append(drawn_from)
            if place % _ROOM == 0:
                # Of the graph's own memory, which nothing else gets while it lives.
                self._blocks.append(torch.empty(_ROOM, dtype=torch.int64, device=device))
        return self._blocks[place // _ROOM][place % _ROOM]


_holder: GraphKeys | None = None


def capturing(z: Tensor) -> bool:
    """True if a CUDA graph is being captured on the device of ``z``."""
    return z.is_cuda and torch.cuda.is_current_stream_capturing()


def held_key(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """Place of the key of a call that is captured.

    Raises:
        TransformError: no ``GraphKeys`` is entered, and the graph would repeat one key for ever.
    """
    if _holder is None:
        raise TransformError(
            "The call draws its key on the CPU, and a captured CUDA graph would repeat one key for ever. Capture it under "
            "tieless.GraphKeys(), leave it out of the graph, or use halves that draw nothing."
        )
    return _holder.place(z.device, generator)
