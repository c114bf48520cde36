"""Write docs/rules.md, the catalogue: every rule as its class describes it, by family, with a plot. Tests hold it to that.

python tools/rules_page.py
"""

from __future__ import annotations

from pathlib import Path

from tieless.cli.catalogue import spec_of
from tieless.report import curve_of, draw_rule
from tieless.rules import Rule, rules
from tieless.rules.catalogue import bits_kept, by_family, cost, example, sections

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
PLOTS = PAGE.parent / "plots"
INTRODUCTION = """# Catalogue of backward rules

Every backward rule there is. This page is made from the code by `tools/rules_page.py`; the parameters, with their domains,
are in the [reference](api/rules.md), and how near each is to the library that it comes from is in
[Conformance](conformance.md). `tieless rules` prints the list, `tieless rules atan` one of them, and
`tieless rules "atan(0.3)" --plot atan.svg` draws it, with any parameters, beside any `--forward`.

`bits` are kept for the backward pass, an element of a float32 `z`, from the forward and the parameters that need the fewest
to those that need the most. A jam also keeps a key of 64 bits a call. `z` and `y` themselves take 32, unless the next layer
keeps them anyway.

The plots show what is sent for a feedback of 1 at each `z`, over the output of a forward that it goes with (dashed); of a rule
that draws, one call as dots, and as a band what lies between the smallest and the largest of 64 calls. A transform does not look
at `z`: it is drawn over the feedback, from -2 to 2, evenly spread over one sample. All is measured by sending feedback through
the rule.

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
    plot = f"![What `{rule}` sends](plots/{cls.name}.svg)"
    return "\n".join([f"### `{cls.name}`", "", text[""].strip(), "", plot, "", *lines, ""])


def overview(classes: list[type[Rule]]) -> str:
    """The rules of one family in a table."""
    rows = [f"| [`{cls.name}`](#{cls.name}) | {bits_kept(cls)} | {cost(cls)} |" for cls in classes]
    return "\n".join(["| Rule | Bits | Cost |", "|---|---|---|", *rows, ""])


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, classes in by_family().items():
        parts += [f"## {title}\n", overview(classes), *map(entry, classes)]
    return "\n".join(parts)


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for cls in rules().values():
        draw_rule(curve_of(example(cls)), PLOTS / f"{cls.name}.svg")
    print(f"Wrote {PAGE.name} and {len(rules())} plots.")


if __name__ == "__main__":
    main()
