"""``explain``: what a model's activations are, what they keep for the backward pass, and how often they fire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tieless.diagnose.explaining.measure import Measured, bits_of, measure
from tieless.diagnose.explaining.native import is_flat
from tieless.diagnose.explaining.printed import aligned, cells, notes, titles
from tieless.diagnose.explaining.records import ActivationRun, ExplainedActivation, ModelRun
from tieless.diagnose.slopes.gate import gate_of
from tieless.diagnose.watching.sites import Place, inside
from tieless.diagnose.watching.untouched import devices_of
from tieless.errors import RuleValueError


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


def explain(model: nn.Module, *inputs: Any, **keywords: Any) -> Explanation:
    """Tell what each ``Activation`` of a model is, what it keeps for the backward pass, and how often it fires.

    What ``convert`` has untied is among them, calls of functions too: ``"block.relu@1"`` is the first ``relu`` in the
    code of ``block``. The native model is then the one that was converted.

    Everything is measured. Bits are what a call saves for each element more; the gate is where feedback that is sent
    comes through. With inputs, ``model(*inputs, **keywords)`` runs once as it is and once as the native model, in
    which each activation is PyTorch's own function: how many bytes either keeps between forward and backward, each
    storage once, without those that are there anyway: parameters, buffers and inputs. No backward pass runs. Mode,
    buffers, gradients, hooks and random state stay as they were.

    Of an activation, ``kept_bytes`` are the storages that its own node keeps; ``own_bytes`` are those among them that
    no other node keeps. PyTorch's ReLU keeps its output, which the next linear layer keeps anyway: its own are 0.

    - What is seen is what goes through PyTorch's saved tensors. A checkpoint inside the model saves its inputs only.
    - A compiled model is measured as it runs without the compiler.
    - ``untie`` called by itself is in the totals, not in the table; the explanation says so where it is seen.
    - PyTorch's own activations have no row; the explanation names them.
    - A slope that learns is told as it is now; a call whose function takes parameters, by those of its last call.
    - Tensors that a forward changes in place, and that are no buffers, stay changed.

    Args:
        model: With one ``Activation`` or more, or ``LearnableActivation``.
        inputs, keywords: What to call it with; without any, bytes and fractions are left out.
    Returns:
        A record that prints as a table.
    Raises:
        RuleTypeError: it is no module.
        RuleValueError: there is no ``Activation`` in it, or a lazy layer that has not seen any input yet.
    Example:
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), tl.Activation("heaviside", "rectangular"), torch.nn.Linear(8, 2))
        >>> print(tl.explain(net))
        activation  forward    backward rule           gate              bits
        1           heaviside  rectangular(-0.5, 0.5)  -0.5 <= z <= 0.5  1
        <BLANKLINE>
        bits: kept for the backward pass for each element of float32, measured.
        Bytes and how often each fired: give explain a batch too, as in explain(model, x).
        >>> tl.explain(net, torch.rand(64, 4)).activations[0].run.kept_bytes  # 64 x 8 bits
        64
    """
    places = inside(model, "explain")
    ours = [place for place in places if not place.native]
    natives = [place for place in places if place.native]
    if not ours:
        raise RuleValueError(
            f"explain found no tieless.Activation in {type(model).__name__}: {_inventory(model, natives)}. Put "
            'tieless.Activation(forward, backward), such as Activation("relu", "tied"), where its activations are, or '
            "give those that it has a rule by tieless.convert."
        )
    run, parts = None, [None] * len(ours)
    with torch.inference_mode(mode=False), torch.enable_grad():
        if inputs or keywords:
            run, parts = measure(model, ours, (inputs, keywords))
        rows = [_row(place, model, part) for place, part in zip(ours, parts, strict=True)]
    return Explanation(type(model).__name__, tuple(rows), run, tuple(map(_named, natives)))


def _row(place: Place, model: nn.Module, part: tuple[ActivationRun, Measured] | None) -> ExplainedActivation:
    run, seen = part or (None, Measured(place.joined))
    dtype, device = seen.dtype or _dtype_of(model), seen.device or devices_of(model)[0]
    forward, rule = seen.joined.forward, seen.joined.rule
    bits, beside = bits_of(place, seen.joined, dtype, device)
    return ExplainedActivation(
        name=place.name,
        forward=str(forward),
        backward=str(rule),
        gate=gate_of(forward, rule, device).region,
        flat=is_flat(forward),
        dtype=str(dtype).removeprefix("torch."),
        bits_per_element=bits,
        bytes_per_call=beside,
        run=run,
    )


def _dtype_of(model: nn.Module) -> torch.dtype:
    """What its activations most likely see: the dtype of its parameters."""
    floating = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    return floating[0] if floating else torch.get_default_dtype()


def _named(place: Place) -> str:
    return f"{place.name} ({type(place.module).__name__})"


def _inventory(model: nn.Module, natives: Sequence[Place]) -> str:
    """What is there instead: ``7 modules, of PyTorch's activations ReLU (2)``."""
    counts = Counter(type(place.module).__name__ for place in natives)
    theirs = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    modules = len(list(model.modules()))
    plural = "" if modules == 1 else "s"
    return (
        f"{modules} module{plural}, {f'of PyTorch activations {theirs}' if theirs else 'none an activation of PyTorch'}"
    )
