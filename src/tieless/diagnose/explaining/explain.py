"""``explain``: a model's activations, the memory that they store for the backward pass, and how often they fire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

import torch
from torch import nn

from tieless._table import aligned
from tieless.diagnose.explaining.measure import Measured, bits_of, measure
from tieless.diagnose.explaining.native import is_flat
from tieless.diagnose.explaining.printed import cells, notes, titles
from tieless.diagnose.explaining.records import ActivationRun, ExplainedActivation, ModelRun
from tieless.diagnose.slopes.gate import gate_of
from tieless.diagnose.watching.sites import Place, inside
from tieless.diagnose.watching.untouched import devices_of
from tieless.errors import RuleTypeError, RuleValueError

T_co = TypeVar("T_co", covariant=True)


class ExplainsItself(Protocol[T_co]):
    """Network with an explanation of its own, such as a packed one."""

    def explain(self) -> T_co: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """Table of a model's activations, of their memory and of how often they fire. ``print`` shows it.

    Args:
        model: Name of the model's class.
        activations: Activations in the order of the model, each with its gate, its bits and, if inputs were given, its
            ``run``.
        run: Bytes of the model as a whole, and of the native model; ``None`` if no inputs were given.
        others: PyTorch's own activations, each by its class.
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


@overload
def explain(model: nn.Module, *inputs: Any, **keywords: Any) -> Explanation: ...
@overload
def explain(model: ExplainsItself[T_co]) -> T_co: ...
def explain(model: nn.Module | ExplainsItself[Any], *inputs: Any, **keywords: Any) -> Any:
    """Explain each ``Activation`` of a model: its halves, its memory for the backward pass, and how often it fires.

    Activations that ``convert`` has untied are included, also calls of functions: ``"block.relu@1"`` is the first
    ``relu`` in the code of ``block``. The native model is then the one that was converted.

    All values are measured. The bits are the memory that a call saves for each additional element; the gate is the set
    of ``z`` at which the rule passes any of the incoming gradient (``grad_output``, in our terms the feedback). With
    inputs, ``model(*inputs, **keywords)`` runs once as it is and once as the native model, in which each activation is
    PyTorch's own function. The explanation then has the bytes that either model stores between forward and backward.
    Each storage counts once; parameters, buffers and inputs, which exist anyway, do not count. No backward pass runs.
    Mode, buffers, gradients, hooks and random state stay as they were.

    The ``kept_bytes`` of an activation are the storages that its own node stores; ``own_bytes`` are those among them
    that no other node stores. PyTorch's ReLU stores its output, which the next linear layer stores anyway, so its
    ``own_bytes`` are 0.

    - Only tensors that PyTorch saves through its saved-tensor hooks are counted. A checkpoint inside the model saves
      its inputs only.
    - A compiled model is measured as it runs without the compiler.
    - A direct call of ``untie`` is in the totals, not in the table; the explanation says so if there is one.
    - PyTorch's own activations have no row; the explanation names them.
    - A slope (multiplier) that learns is shown with its present values, and a call whose function takes parameters with
      those of its last call.
    - Tensors that a forward changes in place, and that are no buffers, stay changed.

    A network that ``tieless.deploy.pack`` has made is explained by its own ``explain``: bytes and bit operations.

    Args:
        model: Model with at least one ``Activation`` or ``LearnableActivation``, or a packed network.
        inputs, keywords: Arguments for a call of the model; without any, bytes and fractions are left out.
    Returns:
        Record that prints as a table.
    Raises:
        RuleTypeError: the model is no module, or is packed and inputs were given.
        RuleValueError: the model has no ``Activation``, or has a lazy layer that has not seen any input yet.
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
    if not isinstance(model, nn.Module):
        return _by_itself(model, inputs or keywords)
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


def _by_itself(model: ExplainsItself[T_co], given: object) -> T_co:
    if isinstance(model, type) or not hasattr(model, "explain"):
        raise RuleTypeError(f"explain needs a torch.nn.Module or a packed network, got {model!r}.")
    if given:
        raise RuleTypeError(f"explain takes no inputs for a {type(model).__name__}: nothing of it is measured.")
    return model.explain()


def _row(place: Place, model: nn.Module, part: tuple[ActivationRun, Measured] | None) -> ExplainedActivation:
    run, seen = part or (None, Measured(place.pair))
    dtype, device = seen.dtype or _dtype_of(model), seen.device or devices_of(model)[0]
    forward, rule = seen.pair.forward, seen.pair.rule
    bits, beside = bits_of(place, seen.pair, dtype, device)
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
    """Dtype that the activations most likely see: that of the model's parameters."""
    floating = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    return floating[0] if floating else torch.get_default_dtype()


def _named(place: Place) -> str:
    return f"{place.name} ({type(place.module).__name__})"


def _inventory(model: nn.Module, natives: Sequence[Place]) -> str:
    """Contents of a model without activations of ours: ``7 modules, of PyTorch's activations ReLU (2)``."""
    counts = Counter(type(place.module).__name__ for place in natives)
    theirs = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    modules = len(list(model.modules()))
    plural = "" if modules == 1 else "s"
    return (
        f"{modules} module{plural}, {f'of PyTorch activations {theirs}' if theirs else 'none an activation of PyTorch'}"
    )
