"""Words for the measurements: the cells of the table and the lines below it, for text and terminal alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tieless.diagnose.explaining.records import ExplainedActivation, ModelRun

NOTHING = "-"
"""Mark for a missing value."""

UNITS = ("KiB", "MiB", "GiB", "TiB")


def amount(count: int) -> str:
    """Number of bytes in readable units.

    Example:
        >>> from tieless.diagnose.explaining.printed import amount
        >>> amount(1000), amount(4096), amount(5 * 1024**3)
        ('1000 B', '4.0 KiB', '5.0 GiB')
    """
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log2(count)) // 10, len(UNITS))
    return f"{count / 1024**power:.1f} {UNITS[power - 1]}"


def percent(fraction: float) -> str:
    """Fraction as a percentage: ``"12.5 %"``."""
    return f"{100 * fraction:.1f} %"


def titles(run: ModelRun | None) -> list[str]:
    """Heads of the columns."""
    always = ["activation", "forward", "backward rule", "gate", "bits"]
    return always if run is None else [*always, "kept", "own", "fired"]


def cells(activation: ExplainedActivation) -> list[str]:
    """One row of the table."""
    always = [
        activation.name or "(the model)",
        activation.forward,
        activation.backward,
        activation.gate or NOTHING,
        f"{activation.bits_per_element:g}",
    ]
    run = activation.run
    if run is None:
        return always
    fired = NOTHING if run.fired is None else percent(run.fired)
    return [*always, amount(run.kept_bytes), amount(run.own_bytes), fired]


def notes(activations: Sequence[ExplainedActivation], run: ModelRun | None, others: Sequence[str] = ()) -> list[str]:
    """Notes on the meaning of the table and on the parts that it leaves out, a line each."""
    dtypes = ", ".join(dict.fromkeys(activation.dtype for activation in activations))
    lines = [f"bits: kept for the backward pass for each element of {dtypes}, measured."]
    beside = sorted({activation.bytes_per_call for activation in activations} - {0})
    if beside:
        lines.append(f"Beside the bits, a call keeps {' or '.join(map(amount, beside))}, such as a key.")
    if others:
        lines.append(f"PyTorch's own activations, which are tied, have no row: {', '.join(others)}.")
    if run is None:
        return lines
    lines.append("kept: by the activation, for the backward pass; own: of that, what nothing else keeps.")
    lines.append("fired: elements at which the rule lets anything through.")
    return [*lines, *_about_the_model(activations, run), *_about_the_rest(activations, run)]


def _about_the_model(activations: Sequence[ExplainedActivation], run: ModelRun) -> list[str]:
    total = f"The model keeps {amount(run.kept_bytes)} from forward to backward"
    if run.native_bytes:
        share = percent(run.kept_bytes / run.native_bytes)
        total += f", {share} of the {amount(run.native_bytes)} that the native model keeps."
    else:
        total += ", the native model nothing."
    mode = "training" if run.training else "evaluation"
    flat = ", ".join(dict.fromkeys(activation.forward for activation in activations if activation.flat))
    but = f"; for {flat}, which PyTorch cannot train, a surrogate written by hand, which keeps its float input"
    return [
        total,
        f"Each storage counts once; parameters, buffers and inputs do not. The model is in {mode} mode.",
        f"The native model has PyTorch's own activations{but if flat else ''}.",
    ]


def _about_the_rest(activations: Sequence[ExplainedActivation], run: ModelRun) -> list[str]:
    lines: list[str] = []
    called = {activation.name: activation.run.calls for activation in activations if activation.run is not None}
    if idle := [name for name, calls in called.items() if not calls]:
        lines.append(f"Not called: {', '.join(idle)}.")
    if repeated := [f"{name} ({calls} times)" for name, calls in called.items() if calls > 1]:
        lines.append(f"Called more than once, and summed: {', '.join(repeated)}.")
    if run.untie_bytes is not None:
        lines.append(
            f"untie is called by itself too, which has no row; it keeps {amount(run.untie_bytes)}, in both sums."
        )
    if run.uncounted:
        lines.append(f"In no sum: {run.uncounted} saved tensors without plain memory, such as sparse ones.")
    return lines
