"""Packed network: its operations, in the order in which they run, and the type of each value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tieless_runtime.errors import PackedFileError
from tieless_runtime.operations import Operation, expect
from tieless_runtime.values import MOST_ELEMENTS, Value, floats

INPUT = "input"
"""Name of the value that a network is given."""


@dataclass(frozen=True, eq=False)
class Network:
    """Packed network. Each value has one maker, which comes before all that take it.

    Args:
        shape: Sizes of one sample, channels first; samples are float32.
        operations: Operations in the order in which they run.
        output: Name of the value with the scores.
        score_scale: Number by which scores that are integers are multiplied to be the model's; 1 for floats.
        kept_float: Reasons for which layers compute in float32, as pairs of a layer's name and its reason.
    Raises:
        PackedFileError: an operation takes a value that does not exist, or one that it is not made for.
    """

    shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    output: str
    score_scale: float = 1.0
    kept_float: tuple[tuple[str, str], ...] = ()
    values: dict[str, Value] = field(init=False)

    def __post_init__(self) -> None:
        expect(
            1 <= len(self.shape) <= 3 and min(self.shape) >= 1,
            f"samples have one to three dimensions, got shape {self.shape}",
        )
        expect(
            math.isfinite(self.score_scale) and self.score_scale > 0,
            f"score_scale must be above 0, got {self.score_scale}",
        )
        values = {INPUT: floats(self.shape)}
        for operation in self.operations:
            try:
                values[operation.output] = self._result(operation, values)
            except PackedFileError as error:
                raise PackedFileError(
                    f"operation {operation.kind} of {operation.name or 'the network'}: {error}"
                ) from None
            expect(
                sum(value.size * max(1, value.times) for value in values.values()) <= 8 * MOST_ELEMENTS,
                "the values of a sample are too large together",
            )
        expect(self.output in values, f"there is no value {self.output!r} to be the scores")
        expect(values[self.output].times == 0, "scores must not change over time")
        object.__setattr__(self, "values", values)

    @staticmethod
    def _result(operation: Operation, values: dict[str, Value]) -> Value:
        expect(operation.output not in values, f"there is a value {operation.output!r} already")
        missing: Sequence[str] = [name for name in operation.inputs if name not in values]
        expect(not missing, f"there is no value {', '.join(map(repr, missing))}")
        expect(
            len(operation.inputs) == operation.arity or (operation.arity is None and operation.inputs),
            f"it takes {operation.arity or 'one or more'} values, got {len(operation.inputs)}",
        )
        return operation.result(*(values[name] for name in operation.inputs))
