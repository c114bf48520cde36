"""Write docs/rules.md, a gallery and an entry for each rule, and the tables of rules by task. Tests hold them to the code.

python tools/rules_page.py
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from tieless.cli.catalogue import spec_of
from tieless.forwards import Forward, forward, forwards
from tieless.forwards.advice import TASKS
from tieless.registry import Named
from tieless.report import Line, curve_of, draw_rule
from tieless.rules import Rule, rules
from tieless.rules.catalogue import bits_kept, by_family, cost, example, sections

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
PLOTS = PAGE.parent / "plots"
CHOICE, SHEET = PAGE.with_name("choose-a-rule.md"), PAGE.with_name("cheat-sheet.md")
INTRODUCTION = """# Catalogue of backward rules

Every backward rule and every forward as a picture. Each rule leads to its entry below: formula, memory, source, and when to use it.
[Which rule do I choose?](choose-a-rule.md) names one for each task. In a terminal, `tieless rules` prints the list, `tieless rules atan`
one entry, and `tieless rules "atan(0.3)" --plot atan.svg` draws a rule with any parameters, beside any `--forward`.
"""
NOTES = """## How to read an entry

This page is made from the code by `tools/rules_page.py`; the parameters, with their domains, are in the [reference](api/rules.md), and
how near each rule is to the library that it comes from is in [Agreement with other libraries](conformance.md).

**Bits** are stored for the backward pass, per element of a float32 `z`; a range is that of forwards and parameters that need less or
more. A random rule also stores a key of 64 bits per call. `z` and `y` themselves take 32 bits, unless the next layer stores them anyway.

**Plots** show the gradient that a rule passes down for an incoming gradient of 1 at each `z`, beside the output of a forward that it goes
with (dashed). A random rule is shown by one call (dots) and by the range of 64 calls (band). A transform does not look at `z`: it is drawn
over the incoming gradient, from -2 to 2, evenly spread over one sample. All of it is measured by sending gradients through the rule.

**Width and height** mean one thing everywhere: `width` is the unit of `z`, `height` the slope at the peak, and the slope is
`height * shape(z / width)`. To compare two families, make them equally wide at half their height:

```python
import tieless as tl

narrow = [rule.from_half_width(0.25) for rule in (tl.ATan, tl.Erf, tl.FastSigmoid, tl.Rectangular, tl.Triangular)]
assert {round(rule.half_width, 12) for rule in narrow} == {0.25}
```

A name of another library that is written in a spec is answered with ours.
"""


def entry(cls: type[Rule]) -> str:
    """One rule."""
    text = sections(cls)
    facts = {
        "Spec": f"`{spec_of(cls)}`",
        "When to use it": text.get("Use", "").replace("\n", " "),
        "Bits": bits_kept(cls),
        "Cost": cost(cls),
        "Elsewhere": ", ".join(f"`{name}`" for name in cls.known_as),
        "Source": text.get("Source", "").replace("\n", " "),
    }
    lines = [f"- **{title}**: {fact}" for title, fact in facts.items() if fact]
    rule = example(cls)
    plot = f"![What `{rule}` sends](plots/{cls.name}.svg){{ .beside width=280 }}"
    return "\n".join([f"### `{cls.name}`", "", plot, "", text[""].strip(), "", *lines, ""])


def drawn(kind: str, lines: Sequence[Line]) -> str:
    """Small drawing of lines of one kind, over a line at 0."""
    x = [place for line in lines for place in line.x]
    y = [0.0, 1.0, *(value for line in lines for value in line.y)]

    def at(place: float, value: float) -> str:
        across = (place - min(x)) / (max(x) - min(x)) * 100
        return f"{across:.1f},{46 - (value - min(y)) / (max(y) - min(y)) * 42:.1f}"

    zero = at(min(x), 0).split(",")[1]
    curves = (f'<polyline points="{" ".join(map(at, line.x, line.y))}"/>' for line in lines)
    return (
        f'<svg class="{kind}" viewBox="-2 0 104 50" aria-hidden="true"><path d="M0 {zero}H100"/>{"".join(curves)}</svg>'
    )


def formula(cls: type[Named]) -> str:
    """First formula of a docstring: what the incoming gradient is multiplied with or becomes, or the output."""
    text = " ".join(sections(cls)[""].split())
    found = re.search(r"`(?:grad_input = |grad_output \* |y = )+([^`]+)`(?! where| with)", text)
    return found[1] if found else ""


def tile(name: str, link: str, picture: str, *under: str) -> str:
    """Picture of a gallery with a name, and what stands under it."""
    said = "".join(f"<small>{html.escape(text)}</small>" for text in under if text)
    return f'<a href="{link}">{picture}<code>{name}</code>{said}</a>'


def rule_tile(cls: type[Rule]) -> str:
    """Picture of what a rule sends; of a random one, the smallest and the largest of many calls."""
    curve = curve_of(example(cls))
    lines = [curve.low, curve.high] if curve.low and curve.high else [curve.sent]
    bits = bits_kept(cls)
    return tile(cls.name, f"#{cls.name}", drawn("rule", lines), formula(cls), f"{bits} bit{'s'[bits == '1' :]}")


def forward_tile(cls: type[Forward]) -> str:
    """Picture of a forward."""
    parameters = "".join("(4)" for one in inspect.signature(cls).parameters.values() if one.default is one.empty)
    torch.manual_seed(0)
    z = torch.linspace(-3, 3, 121, dtype=torch.float64)
    y = forward(cls.name + parameters).value(z)
    link = f"api/forwards.md#tieless.forwards.{cls.__name__}"
    return tile(cls.name, link, drawn("forward", [Line(tuple(z.tolist()), tuple(y.tolist()))]), formula(cls))


def gallery(title: str, tiles: Iterable[str]) -> str:
    """Pictures side by side, as many as fit."""
    return "\n".join([f"**{title}**\n", '<div class="gallery">', *tiles, "</div>", ""])


def choices() -> dict[Path, str]:
    """The pages that have the rules by task, with their tables as the code has them."""
    full = ["| You train | Forward | Start with | Then try | What was measured |", "|---|---|---|---|---|"]
    brief = ["| You train | Forward | Rules, best first |", "|---|---|---|"]
    for task in TASKS:
        specs = [f"`{advice.spec}`" for advice in task.rules]
        half = f"`{task.forward}`" if task.forward else "any with a derivative"
        full.append(f"| {task.network} | {half} | {' | '.join([*specs, ''][:2])} | {task.measured} |")
        brief.append(f"| {task.network} | {half} | {', '.join(specs)} |")
    tables = {CHOICE: full, SHEET: brief}
    return {
        path: re.sub(
            r"(?s)(<!-- tasks -->\n).*(?=<!-- end -->)",
            lambda mark, lines=lines: f"{mark[1]}\n{chr(10).join(lines)}\n\n",
            path.read_text(encoding="utf-8"),
        )
        for path, lines in tables.items()
    }


def page() -> str:
    """The whole page."""
    families = by_family()
    shown = [(title, list(map(rule_tile, classes))) for title, classes in families.items()]
    parts = [INTRODUCTION]
    parts += [
        gallery(title, tiles) for title, tiles in (*shown, ("Forwards", list(map(forward_tile, forwards().values()))))
    ]
    parts.append(NOTES)
    for title, classes in families.items():
        parts += [f"## {title}\n", *map(entry, classes)]
    return "\n".join(parts)


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")
    for path, text in choices().items():
        path.write_text(text, encoding="utf-8")
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for cls in rules().values():
        draw_rule(curve_of(example(cls)), PLOTS / f"{cls.name}.svg")
    print(f"Wrote {PAGE.name} and {len(rules())} plots.")


if __name__ == "__main__":
    main()
