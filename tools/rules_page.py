"""Write docs/rules.md, the catalogue: every rule as its class describes it, by family. A test holds the page to that.

python tools/rules_page.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tieless.cli.catalogue import spec_of
from tieless.registry import Named
from tieless.rules import Rule
from tieless.rules.catalogue import bits_kept, by_family, cost

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
_HEADING = re.compile(r"^(Args|Attributes|Example|Raises|Shape|Source|Use):$", re.MULTILINE)
INTRODUCTION = """# The rules

Every backward rule there is. This page is made from the code by `tools/rules_page.py`; the parameters, with their domains,
are in the [reference](api/rules.md), and how near each is to the library that it comes from is in
[Conformance](conformance.md). `tieless rules` prints the list.

`bits` are kept for the backward pass, an element of a float32 `z`, from the forward and the parameters that need the fewest
to those that need the most. A jam also keeps a key of 64 bits a call. `z` and `y` themselves take 32, unless the next layer
keeps them anyway.

**Width and height** mean one thing everywhere: `width` is the unit of `z`, `height` the slope at the peak, and the slope is
`height * shape(z / width)`. To compare two families, make them equally wide at half their height:

```python
import tieless as tl

narrow = [rule.from_half_width(0.25) for rule in (tl.ATan, tl.Erf, tl.FastSigmoid, tl.Rectangular, tl.Triangular)]
assert {round(rule.half_width, 12) for rule in narrow} == {0.25}
```

A name of another library that is written in a spec is answered with ours.
"""


def sections(cls: type[Named]) -> dict[str, str]:
    """A docstring by its headings; what stands before them is under the empty one."""
    parts = _HEADING.split(inspect.getdoc(cls) or "")
    found = dict(zip(["", *parts[1::2]], [parts[0], *parts[2::2]], strict=True))
    return {heading: inspect.cleandoc(text).replace("``", "`") for heading, text in found.items()}


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
    return "\n".join([f"### `{cls.name}`", "", text[""].strip(), "", *lines, ""])


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
    print(f"Wrote {PAGE.name}.")


if __name__ == "__main__":
    main()
