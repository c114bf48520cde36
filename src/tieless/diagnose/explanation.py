"""What ``explain`` returns."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.diagnose.records import ExplainedActivation, ModelRun
from tieless.diagnose.words import aligned, cells, notes, titles

__all__ = ["Explanation"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a model's activations are, keep and do. ``print`` shows it as a table.

    Args:
        model: The name of its class.
        activations: In the order of the model, each with its gate, its bits and, if inputs were given, its ``run``.
        run: Bytes of the model as a whole, beside the native model's; ``None`` if no inputs were given.
        others: PyTorch's own activations, each with its class.
    Example:
        >>> explanation = tl.explain(tl.Activation("relu", "tied"))
        >>> explanation.activations[0].gate, explanation.activations[0].bits_per_element
        ('z > 0', 1.0)
    """

    model: str
    activations: tuple[ExplainedActivation, ...]
    run: ModelRun | None
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        table = aligned([titles(self.run), *map(cells, self.activations)])
        lines = [*table, "", *notes(self.activations, self.run, self.others)]
        if self.run is None:
            lines.append("Bytes and how often each fired: give explain a batch too, as in explain(model, x).")
        return "\n".join(lines)
