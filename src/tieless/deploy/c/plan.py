"""Plan of a C program: which operations run together, so that what lies between them is never stored.

A stage takes numbers from a product or from stored values and sends each through a chain of operations that look at one
channel of one place, with at most one pool on the way; only the end of the chain is stored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tieless_runtime import Network
from tieless_runtime.network import INPUT
from tieless_runtime.operations import (
    Add,
    Affine,
    Concat,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    Operation,
    Prelu,
    Quantise,
    Relu,
    Rescale,
    SumPool,
    SumTime,
    Threshold,
)

from tieless.errors import DeployError

_CHAINED = (Threshold, Affine, Prelu, Relu, Rescale, Add, Lif, SumTime)


@dataclass(frozen=True, eq=False)
class Link:
    """Operation in a chain.

    Args:
        operation: Operation.
        other: Value that is added, for a sum.
    """

    operation: Operation
    other: str | None = None


@dataclass(eq=False)
class Stage:
    """Operations that run together.

    Args:
        sources: Values from which the numbers come: several for a concatenation, else one.
        output: Name of the value that is stored.
        product: Linear layer or convolution at the head, if there is one.
        inner: Chain of each number before the pool.
        pool: Maximum or sum over windows, if there is one.
        outer: Chain behind the pool.
        flat: True if the result is stored in one dimension, in PyTorch's order.
        last: Index of the last operation, which says when the stage runs.
        names: Kind and layer of each operation.
    """

    sources: tuple[str, ...]
    output: str
    product: Linear | Conv | None = None
    inner: list[Link] = field(default_factory=list[Link])
    pool: MaxPool | SumPool | None = None
    outer: list[Link] = field(default_factory=list[Link])
    flat: bool = False
    last: int = 0
    names: list[str] = field(default_factory=list[str])

    @property
    def links(self) -> list[Link]:
        """All operations of the chain but the pool."""
        return [*self.inner, *self.outer]

    @property
    def others(self) -> list[str]:
        """Values that are added on the way."""
        return [link.other for link in self.links if link.other is not None]


@dataclass(frozen=True, eq=False)
class View:
    """Other reading of bytes that are there: of the input as integers, or of a stored value in one dimension.

    Args:
        base: Name of the stored value, or ``"input"``.
        quantise: Operation by which samples become integers, for a view of the input.
        flat: True if they are seen in one dimension.
    """

    base: str
    quantise: Quantise | None = None
    flat: bool = False


class Plan:
    """Stages of a network in their order, and the views of what they take.

    Args:
        network: Network whose values are integers, but for the samples.
    Raises:
        DeployError: an operation computes in float32.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.views: dict[str, View] = {INPUT: View(INPUT)}
        self.stages: list[Stage] = []
        needed = {network.output}
        for operation in reversed(network.operations):
            if operation.output in needed:
                needed |= set(operation.inputs)
        operations = [operation for operation in network.operations if operation.output in needed]
        self._users: dict[str, list[Operation]] = {}
        for operation in operations:
            for name in operation.inputs:
                self._users.setdefault(name, []).append(operation)
        self._uses = Counter(name for operation in operations for name in operation.inputs)
        self._makers: dict[str, Stage] = {}
        for index, operation in enumerate(operations):
            if not self._is_view(operation):
                self._place(index, operation)
        self._end()
        self.stages.sort(key=lambda stage: stage.last)

    def view(self, name: str) -> View:
        """View of a value, which is the value itself if it is stored as it is."""
        return self.views.get(name, View(name))

    def _is_view(self, operation: Operation) -> bool:
        """True for an operation that only reads bytes in another way, which is noted."""
        first = operation.inputs[0]
        seen = self.view(first)
        of_input = seen.base == INPUT
        if isinstance(operation, Quantise):
            self.views[operation.output] = View(INPUT, operation, seen.flat)
            return True
        if isinstance(operation, Flatten) and (of_input or self._only_for_products(operation)):
            self.views[operation.output] = View(seen.base, seen.quantise, flat=True)
            return True
        return False

    def _only_for_products(self, operation: Flatten) -> bool:
        """True if all that take a flattened value are linear layers, whose weights can be in any order."""
        takers = self._users.get(operation.output, [])
        return operation.output != self.network.output and all(isinstance(taker, Linear) for taker in takers)

    def _place(self, index: int, operation: Operation) -> None:
        if self.network.values[operation.output].kind == "float":
            reason = dict(self.network.kept_float).get(operation.name, "")
            raise DeployError(
                f"{operation.name or operation.output} ({operation.kind}) computes in float32"
                f"{reason and ', because '}{reason}. A C file computes in integers alone: pack with ends='int8'."
            )
        stage = self._extended(operation)
        if stage is None:
            stage = Stage(operation.inputs, operation.output)
            self.stages.append(stage)
            if isinstance(operation, (Linear, Conv)):
                stage.product = operation
            elif isinstance(operation, (MaxPool, SumPool)):
                stage.pool = operation
            elif isinstance(operation, Flatten):
                stage.flat = True
            elif isinstance(operation, Add):
                stage.sources = operation.inputs[:1]
                stage.inner.append(Link(operation, operation.inputs[1]))
            elif not isinstance(operation, Concat):
                stage.inner.append(Link(operation))
        self._makers[operation.output] = stage
        stage.output, stage.last = operation.output, index
        stage.names.append(f"{operation.kind} {operation.name}".strip())

    def _extended(self, operation: Operation) -> Stage | None:
        """Stage that takes an operation at the end of its chain, if one can."""
        found: list[tuple[int, Stage, str | None]] = []
        for name, other in zip(operation.inputs, reversed(operation.inputs), strict=True):
            stage = self._makers.get(name)
            if stage is not None and self._uses[name] == 1 and self._takes(stage, operation, other):
                found.append((stage.last, stage, other if isinstance(operation, Add) else None))
        if not found:
            return None
        _, stage, other = max(found, key=lambda each: each[0])
        if isinstance(operation, (MaxPool, SumPool)):
            stage.pool = operation
        elif isinstance(operation, Flatten):
            value = self.network.values[operation.inputs[0]]
            stage.flat = value.size > value.channels
        else:
            (stage.outer if stage.pool else stage.inner).append(Link(operation, other))
        return stage

    def _takes(self, stage: Stage, operation: Operation, other: str) -> bool:
        values = self.network.values
        timed = isinstance(operation, Lif) or (isinstance(operation, Add) and values[other].times > 0)
        summed = any(isinstance(link.operation, SumTime) for link in stage.links)
        if stage.flat:
            return False
        if isinstance(operation, (MaxPool, SumPool)):
            # Windows that overlap would compute numbers twice; what happens over time comes behind the pool.
            once = all(size <= step for size, step in zip(operation.kernel, operation.stride, strict=True))
            spiking = any(isinstance(link.operation, (Lif, SumTime)) for link in stage.links)
            return once and stage.pool is None and not spiking and len(stage.sources) == 1
        return isinstance(operation, (*_CHAINED, Flatten)) and not (summed and timed)

    def _end(self) -> None:
        """Have the last stage write the scores, or add one that copies them."""
        output = self.network.output
        if self.network.values[output].kind == "float":
            raise DeployError("The scores are float, and a C file computes in integers alone: pack with ends='int8'.")
        if output not in self._makers:
            self.stages.append(Stage((output,), output, last=len(self.network.operations), names=["scores"]))
