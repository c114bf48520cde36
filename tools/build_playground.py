"""Build the playground, one HTML file with everything in it, into docs/, from where the site takes it."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
import typing
from pathlib import Path
from typing import Any

import jinja2

import tieless as tl
from tieless.errors import RuleValueError, UntrainableError
from tieless.forwards import forward, forwards
from tieless.rules.catalogue import example, sections
from tieless.slopes import FixedSlope, LevelSlope, TwoValuedSlope

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "playground"
PAGE = ROOT / "docs" / "playground.html"

MODULES = (
    *("catalogue", "random", "functions", "forwards", "specs", "rules", "data", "network", "optimisers"),
    *("experiment", "python", "settings", "presets", "drawing", "page", "api"),
)
"""Scripts of the page, each after those that it imports."""

WITH_PARAMETERS = ("clamp(0, 1)", "quantize(0.5)", "signed_staircase(2)", "spike_count(4)", "staircase(4)")
"""Forwards that are offered with these parameters; all others have their defaults."""

LEFT_OUT = {
    "bernoulli": "its output is random, so that a boundary would never stand still",
    "magnitude_aware_sign": "it is made for weights",
    "ternary_weight": "it is made for weights",
    "magnitude_aware": "it is made for weights",
}
"""Forwards and rules of the library that the page does not offer, and why."""

PROPOSED: dict[str, dict[str, float]] = {
    "clip": {"value": 0.001},
    "clip_norm": {"max_norm": 0.01},
    "noise": {"sigma": 0.001},
    "flip": {"p": 0.2},
}
"""Parameters for gradients of the size that a mean over 200 points has."""


def specs() -> list[str]:
    """Specs of the forwards that the page offers, sorted."""
    given = {spec.partition("(")[0] for spec in WITH_PARAMETERS}
    return sorted([*WITH_PARAMETERS, *(name for name in forwards() if name not in given and name not in LEFT_OUT)])


def catalogue() -> dict[str, Any]:
    """Facts about forwards and rules that the page takes from the library."""
    offered = [
        {"spec": spec, "flat": forward(spec).derivative() is None, "words": _words(type(forward(spec)))}
        for spec in specs()
    ]
    rules = {name: _rule(cls) for name, cls in tl.rules().items() if name not in LEFT_OUT}
    return {"forwards": offered, "rules": rules, "version": tl.__version__}


def _words(cls: type[Any]) -> str:
    return " ".join(sections(cls)[""].partition("\n\n")[0].split())


def _rule(cls: type[Any]) -> dict[str, Any]:
    shown, types = example(cls), typing.get_type_hints(cls)
    parameters = [
        {
            "name": one.name,
            "kind": "choice" if typing.get_args(types[one.name]) else types[one.name].__name__,
            "choices": list(typing.get_args(types[one.name])) or None,
            "default": None if one.default is dataclasses.MISSING else one.default,
            "proposed": PROPOSED.get(cls.name, {}).get(one.name, getattr(shown, one.name)),
            "option": bool(one.metadata.get("hidden_at_default")),
        }
        for one in dataclasses.fields(cls)
    ]
    found = {"family": cls.family, "draws": cls.draws, "words": _words(cls), "parameters": parameters}
    if cls.name == "gated":
        found["levels"] = {where: _levels(cls(where)) for where in ("large", "nonzero")}
    elif cls.name in {"regelu2", "resilu2"}:
        found["levels"] = {"": _levels(cls())}
    elif cls.name == "few_bit":
        found["levels"] = {str(bits): _levels(cls(bits)) for bits in range(1, 5)}
    return found


def _levels(rule: tl.Rule) -> dict[str, Any]:
    """Multipliers of a rule that follows the forward's derivative, beside each forward that it goes with."""
    found = {}
    for spec in specs():
        try:
            slope = rule.slope(forward(spec))
        except (RuleValueError, UntrainableError):
            continue
        match slope:
            case FixedSlope():
                found[spec] = {"boundaries": [], "values": [slope.value], "even": False}
            case LevelSlope():
                found[spec] = {"boundaries": slope.needs.boundaries, "values": slope.values, "even": slope.needs.even}
            case TwoValuedSlope():
                window = {"low": slope.needs.low, "high": slope.needs.high, "open": slope.needs.open}
                found[spec] = {**window, "inside": slope.inside, "outside": slope.outside}
            case _:
                raise TypeError(f"The page cannot show {rule} beside {spec}: {slope}")
    return found


def script() -> str:
    """All modules as one, in order, without their imports and exports of each other."""
    texts = [(SOURCES / f"{name}.js").read_text(encoding="utf-8") for name in MODULES]
    text = "\n".join(
        re.sub(r"^import \{[^}]*\} from \"\./\w+\.js\";\n", "", text, flags=re.MULTILINE) for text in texts
    )
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def colours() -> str:
    """Colours and fonts of the report's style sheet: all that stands before its first rule for every element."""
    return (ROOT / "src/tieless/report/templates/style.css").read_text(encoding="utf-8").partition("* {")[0]


@functools.cache
def page() -> str:
    """Page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES), undefined=jinja2.StrictUndefined, autoescape=True
    )
    # Infinity is no JSON: an edge that is not there is null. A "<" in a text must not end the element.
    facts = json.dumps(_finite(catalogue()), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("page.html.j2").render(
        style=colours() + (SOURCES / "style.css").read_text(encoding="utf-8"),
        catalogue=facts,
        script=script(),
        left_out=LEFT_OUT,
        version=tl.__version__,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value in {float("inf"), float("-inf")} else value


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}, {len(page().encode()) / 1000:.0f} kB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
