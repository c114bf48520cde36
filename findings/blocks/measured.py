"""Blocks of measurements: tables that ``python -m findings measure`` writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import fmean, geometric_mean
from typing import Any, TypeVar

from findings.blocks.claims import Judged
from findings.blocks.markdown import NAMES, once, table
from findings.losses import ELSEWHERE, Cell, Prediction, cells, here_and_elsewhere, predictions as predicted
from findings.measure.mechanisms import LENET5
from findings.measure.robustness import RULES
from findings.tables import measurements
from tieless.errors import StudyError
from tieless.report import words

T = TypeVar("T")


def gradients(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``gradients STUDY OPTIMISER RATE STEP... [only RULE...]``: each layer's cosine and norm, beside the tied one's.

    The norm is relative to the tied one's. Values are means over seeds.
    """
    study, optimiser, rate, *steps = given
    steps, only = (steps[: steps.index("only")], steps[steps.index("only") + 1 :]) if "only" in steps else (steps, [])
    rows = [
        row
        for row in measurements("mechanism-layers")
        if (row["study"], row["model"], row["optimiser"], row["learning_rate"])
        == (study, "lenet5", optimiser, float(rate))
    ]
    rules = list(dict.fromkeys(row["backward"] for row in rows))
    by: dict[tuple[int, float], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if f"{row['step']:g}" in steps and row["layer"] != "" and (not only or row["backward"] in only):
            ratio = row["norm"] / row["reference_norm"] if row["reference_norm"] else math.nan
            layers = by.setdefault((rules.index(row["backward"]), row["step"]), {})
            layers.setdefault(f"{row['layer']:g}", []).append((row["cosine"], ratio))
    if not by:
        raise StudyError(f"mechanism-layers.csv has nothing of {' '.join(given)}.")
    found = {
        (f"`{rules[rule]}`", step): [layers.get(layer, []) for layer in LENET5]
        for (rule, step), layers in sorted(by.items())
    }
    return _by_layer(
        found,
        {
            "Cosine with the tied gradient": lambda pairs: words.signed(fmean(cosine for cosine, _ in pairs)).lstrip(
                "+"
            ),
            "Norm, as a multiple of the tied gradient's": lambda pairs: (
                f"{geometric_mean(ratio for _, ratio in pairs):.3g}"
            ),
        },
    )


def _by_layer(
    found: Mapping[tuple[str, float], Sequence[Sequence[T]]], shown: Mapping[str, Callable[[Sequence[T]], str]]
) -> str:
    """A table for each number shown, with a column for each layer of LeNet-5."""
    tables = [
        table(
            ["Rule", "Updates", *LENET5.values()],
            [
                [rule, f"{step:g}", *(write(values) if values else words.NOTHING for values in layers)]
                for (rule, step), layers in found.items()
            ],
        )
        for write in shown.values()
    ]
    return "\n\n".join(chain.from_iterable((f"{title}:", one) for title, one in zip(shown, tables, strict=True)))


def units(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``units STUDY STEP...``: spread of ``z``, shares of saturated and constant units, means over seeds."""
    study, *steps = given
    rows = [row for row in measurements("mechanism-health") if row["study"] == study and f"{row['step']:g}" in steps]
    by: dict[tuple[str, str, float], dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        key = (row["backward"], row["model"], row["step"])
        by.setdefault(key, {}).setdefault(int(row["activation"]), []).append(row)
    if not by:
        raise StudyError(f"mechanism-health.csv has nothing of {' '.join(given)}.")
    order = list(dict.fromkeys((row["backward"], row["model"]) for row in rows))
    found = {
        (f"`{rule}`{' with batch norm' if 'norm' in model else ''}", step): [
            by[rule, model, step].get(number, []) for number in (1, 2, 3, 4)
        ]
        for rule, model, step in sorted(by, key=lambda key: (order.index(key[:2]), key[2]))
    }
    return _by_layer(
        found,
        {
            "Standard deviation of `z`": lambda own: f"{fmean(row['spread'] for row in own):.3g}",
            "Share of `z` at which the derivative is under 1 % of its greatest, %": lambda own: (
                f"{100 * fmean(row['saturated'] for row in own):.0f}"
            ),
            "Share of units with one output for all images, %": lambda own: (
                f"{100 * fmean(row['constant'] for row in own):.0f}"
            ),
        },
    )


def sent(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``sent STUDY SIGMA...``: size of the gradient that each activation passes down, and its cosine after noise."""
    study, *sigmas = given
    by: dict[tuple[str, str, float], list[float]] = {}
    for row in measurements("mechanism-feedback"):
        if row["study"] == study:
            by.setdefault((row["model"], row["optimiser"], row["step"]), []).append(row["rms"])
    if not by:
        raise StudyError(f"mechanism-feedback.csv has nothing of {study}.")
    body = [
        [
            f"`{model}`, {NAMES.get(optimiser, optimiser)}",
            f"{step:g}",
            ", ".join(f"{size:.1g}" for size in sizes),
            *(_left(sizes, float(sigma)) for sigma in sigmas),
        ]
        for (model, optimiser, step), sizes in by.items()
    ]
    return table(
        ["Network", "Updates", "Root mean square, first activation to last", *(f"`noise({s})`" for s in sigmas)], body
    )


def _left(sizes: Sequence[float], sigma: float) -> str:
    cosines = [size / math.hypot(size, sigma) for size in sizes]
    return f"{min(cosines):.2f} to {max(cosines):.2f}"


def lost(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``lost MODEL OPTIMISER``: accuracy of the tied network by forward, and the cost of each rule, in points."""
    model, optimiser = given
    found = [cell for cell in cells() if cell.group[:2] == (model, optimiser)]
    by_forward: dict[str, dict[str, Cell]] = {}
    for cell in found:
        by_forward.setdefault(cell.forward, {})[cell.group[2]] = cell
    body = [
        [
            f"`{forward}`",
            words.value(next(iter(own.values())).tied),
            *(words.signed(own[rule].lost) if rule in own else words.NOTHING for rule in RULES),
        ]
        for forward, own in by_forward.items()
    ]
    return table(["Forward", "Tied, %", *(f"Points lost with `{rule}`" for rule in RULES)], body)


def predictions(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``predictions MODEL``: accuracy of the losses predicted from each property, for forwards held out.

    The rows are for all optimisers together, for each alone, and with the losses of another network.
    """
    (model,) = given
    found, elsewhere = here_and_elsewhere(model)
    optimisers = list(dict.fromkeys(cell.group[1] for cell in found))
    parts = [found, *([cell for cell in found if cell.group[1] == optimiser] for optimiser in optimisers)]
    whole, *by_optimiser = [{one.properties: one for one in predicted(part, elsewhere)} for part in parts]
    body = [[_named(names), *_foretold(one)] for names, one in whole.items()]
    apart = [
        [_named(names), *chain.from_iterable(_briefly(own.get(names)) for own in by_optimiser)]
        for names in dict.fromkeys(chain(*by_optimiser))
    ]
    forwards, groups = len({cell.forward for cell in found}), len({cell.group for cell in found})
    head = ["Properties", "Held-out error", "Explained", "Twins held out", "Rank correlation", "Learned elsewhere"]
    said = [
        f"{NAMES[optimiser]}{what}" for optimiser in optimisers for what in (", held-out error", ", twins held out")
    ]
    return "\n\n".join(
        [
            table(head, body),
            f"{forwards} forwards, {groups} pairs of optimiser and rule, {len(found)} cells. Each optimiser alone:",
            table(["Properties", *said], apart),
        ]
    )


def elsewhere(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``elsewhere OPTIMISER FORWARD...``: what the losses of the other network explain, with and without these forwards."""
    optimiser, *without = given
    body: list[list[str]] = []
    for model in sorted({cell.group[0] for cell in cells()}):
        own = [cell for cell in cells() if cell.group[:2] == (model, optimiser)]
        for kept in (own, [cell for cell in own if cell.forward not in without]):
            one = next(one for one in predicted(kept) if one.properties == (ELSEWHERE,))
            forwards = len({cell.forward for cell in kept})
            told = (
                f"all {forwards}"
                if kept is own
                else f"{forwards}, without {', '.join(f'`{name}`' for name in without)}"
            )
            body.append([f"`{model}`", told, _explained(one.explained), _explained(one.without_twins)])
    once(body, 1)
    return table(["Network", "Forwards", "Explained by the other network's losses", "Twins held out"], body)


def _named(names: Sequence[str]) -> str:
    if len(names) > 1:
        return f"all {len(names)} {names[0][names[0].index('@') :]}"
    return names[0] if names else "none: the mean of the others"


def _foretold(one: Prediction) -> list[str]:
    return [
        f"{one.error:.1f}",
        _explained(one.explained),
        _explained(one.without_twins),
        "" if one.order is None else words.signed(one.order),
        "" if one.carried is None else _explained(one.carried),
    ]


def _briefly(one: Prediction | None) -> list[str]:
    return ["", ""] if one is None else [f"{one.error:.1f}", _explained(one.without_twins)]


def _explained(share: float) -> str:
    """Share of the squared errors. Far below 0 it means nothing: the line was drawn far beyond its fitted range."""
    return words.signed(share) if share >= -1 else "< \N{MINUS SIGN}1"
