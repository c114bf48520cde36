"""Words for a checkup."""

from __future__ import annotations

from collections.abc import Sequence

from tieless._table import aligned
from tieless.diagnose.explaining.printed import NOTHING, percent
from tieless.diagnose.health.cures import interval
from tieless.diagnose.health.records import Finding, LayerHealth

CELLS = ("activation", "forward", "backward rule", "live", "saturated", "constant", "z", "window", "sends", "ratio")
"""Head of each column."""

_ADVICE = {
    "not finite": "no rule mends numbers: look at what comes in and at the weights, at the first of these first",
    "nothing arrives": "look at what is above it",
    "constant outputs": "no rule changes outputs: normalise what comes in (batch norm), or shift the bias",
    "outside the window": "no window was found that lets a tenth through",
    "sends nothing": "no rule was found that lets a tenth through",
    "vanishing": "normalising did not help: look at the weights between the activations",
    "exploding": "normalising did not help: look at the weights between the activations",
}


def lines_of(layers: Sequence[LayerHealth], findings: Sequence[Finding], uncalled: Sequence[str]) -> list[str]:
    """Lines of the table, then of the findings."""
    return [*aligned([CELLS, *map(cells_of, layers)]), "", *paragraphs(layers, findings, uncalled)]


def paragraphs(layers: Sequence[LayerHealth], findings: Sequence[Finding], uncalled: Sequence[str]) -> list[str]:
    """Paragraphs, one for each cause: its activations, each with a line of its own."""
    found = {finding.name for finding in findings}
    silent = [_name(layer) for layer in layers if not layer.live and layer.name not in found]
    lines = [f"Frozen, so that nothing is sent below: {', '.join(silent)}."] if silent else []
    if not findings:
        others = "the other" if silent else "these"
        lines += [f"Nothing is wrong with the feedback of {others} activations."] * (len(silent) < len(layers))
    for cause in dict.fromkeys(finding.cause for finding in findings):
        same = [finding for finding in findings if finding.cause == cause]
        width = max(len(_name(finding)) for finding in same)
        lines.append(cause)
        for finding in same:
            lines += [f"  {_name(finding):{width}}  {finding.because}", f"  {'':{width}}  {advice_on(finding)}"]
    if uncalled:
        lines.append(f"Not called with this batch: {', '.join(uncalled)}.")
    return lines


def _name(named: Finding | LayerHealth) -> str:
    return named.name or "(the model)"


def cells_of(layer: LayerHealth) -> list[str]:
    """One row of the table."""
    return [
        _name(layer),
        layer.forward,
        layer.backward,
        percent(layer.live),
        percent(layer.saturated),
        NOTHING if layer.constant is None else percent(layer.constant),
        f"{layer.mean:.2g} +- {layer.spread:.2g}",
        interval(layer.window),
        f"{layer.sent:.1e}",
        NOTHING if layer.ratio is None else f"{layer.ratio:.2g}",
    ]


def advice_on(finding: Finding) -> str:
    """Advice on a finding, and its effect."""
    if finding.cured is not None:
        then = f"{percent(finding.cured.live)} live, sends {finding.cured.sent:.1e}"
        return f"try {finding.proposal}: {then}" if finding.proposal else f"with what is proposed above: {then}"
    return _ADVICE[finding.cause]
