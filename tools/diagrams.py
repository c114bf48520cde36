"""Write the diagrams of docs/images/: feedback alignment, an annealed width, a study, and a study on a cluster.

python tools/diagrams.py

Curves are what the library computes. A picture follows the reader's theme, light or dark.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from home_pictures import HEIGHT, PICTURES, STYLE, WIDTH, curve, drawing, picture

import tieless as tl

SCHEDULE = {
    curve: tl.anneal("atan", {"width": 2}, {"width": 0.2}, steps=100, curve=curve) for curve in ("linear", "geometric")
}
SHOWN = range(0, 101, 25)
"""Steps of the schedule whose slope is drawn."""

LINES = """
.box { fill: none; stroke: #8a8f98; stroke-width: 1.2 }
.run { fill: none; stroke: #59636e; stroke-width: 1.6 } .down { fill: none; stroke: #c2410c; stroke-width: 1.6 }
.run.head { fill: #59636e; stroke: none } .down.head { fill: #c2410c; stroke: none }
.middle { text-anchor: middle } .change { fill: #c2410c }
@media (prefers-color-scheme: dark) {
  .run { stroke: #c8ccd2 } .down { stroke: #ff9b64 } .run.head { fill: #c8ccd2 } .down.head { fill: #ff9b64 }
  .change { fill: #ff9b64 }
}
"""


def box(left: float, top: float, width: float, *lines: str) -> str:
    """A box with lines of text in its middle: the first of full size, the others small."""
    height = 12 + 17 * len(lines)
    texts = [
        f'<text class="middle{" small" if i else ""}" x="{left + width / 2}" y="{top + 20 + 17 * i}">{line}</text>'
        for i, line in enumerate(lines)
    ]
    return f'<rect class="box" x="{left}" y="{top}" width="{width}" height="{height}" rx="5"/>' + "".join(texts)


def arrow(kind: str, *places: tuple[float, float]) -> str:
    """A line through places, horizontal or vertical at its end, with a head at the last of them."""
    (x, y), (to_x, to_y) = places[-2:]
    back_x, back_y = (6 * ((to > at) - (to < at)) for at, to in ((x, to_x), (y, to_y)))
    side_x, side_y = (4 if back_y else 0), (4 if back_x else 0)
    ends = [*places[:-1], (to_x - back_x, to_y - back_y)]
    base_x, base_y = ends[-1]
    head = f"M{to_x} {to_y} L{base_x + side_x} {base_y + side_y} L{base_x - side_x} {base_y - side_y} Z"
    line = "M" + " L".join(f"{x} {y}" for x, y in ends)
    return f'<path class="{kind}" d="{line}"/><path class="{kind} head" d="{head}"/>'


def words(x: float, y: float, text: str, kind: str = "small") -> str:
    """A line of text that begins at a place."""
    return f'<text class="{kind}" x="{x}" y="{y}">{text}</text>'


def diagram(width: int, height: int, *parts: str) -> str:
    """One diagram with all that it consists of."""
    return drawing(width, height, STYLE + LINES, *parts)


def feedback(title: str, subtitle: str, weights: dict[int, str], *, direct: bool) -> str:
    """Three layers, from the input at the bottom to the error on top, and the way of the gradient down, by its weights."""
    tops = {"error": 50, "layer 3": 110, "layer 2": 170, "layer 1": 230, "input": 290}
    parts = [box(20, top, 90, name) for name, top in tops.items()]
    parts += [arrow("run", (40, low), (40, high + 29)) for high, low in pairwise(tops.values())]
    parts.append(arrow("down", (90, 79), (90, 110)))
    for layer, text in weights.items():
        to = tops[f"layer {layer}"]
        if direct:
            right = 126 + 32 * (3 - layer)
            parts += [
                arrow("down", (110, 64), (right, 64), (right, to + 14), (110, to + 14)),
                words(right + 4, to + 2, text, "change"),
            ]
        else:
            parts += [
                arrow("down", (90, to - 31), (90, to)),
                words(98, to - 11, text, "change" if "B" in text else "small"),
            ]
    return diagram(WIDTH, 320, words(0, 14, title, ""), words(0, 32, subtitle), *parts)


def widths() -> dict[str, str]:
    """Names of files with the slopes of a rule while its width is annealed, and with the width over the steps."""
    z = torch.linspace(-2, 2, 201, requires_grad=True)
    slopes = [
        torch.autograd.grad(tl.untie(z, "heaviside", SCHEDULE["geometric"].at(step)).sum(), z)[0] for step in SHOWN
    ]
    kinds = {"geometric": "rule", "linear": "sent"}
    rooms = {kind: [SCHEDULE[kind].at(step).width for step in range(101)] for kind in kinds}
    steps = torch.linspace(-2, 2, 101)
    # Axes of the second picture: 0 to 100 steps, and widths of 0 to 2.5 from the lower edge on.
    drawn = [curve(steps, torch.tensor(rooms[kind]) - 1.25, colour) for kind, colour in kinds.items()]
    return {
        "anneal-slopes.svg": picture(
            "slope of atan, geometric",
            f"after {', '.join(map(str, SHOWN))} steps",
            *(curve(z.detach(), slope, "rule") for slope in slopes),
        ),
        "anneal-widths.svg": picture(
            "width over 100 steps",
            "from 2 to 0.2",
            *drawn,
            words(95, 18, "linear"),
            words(28, HEIGHT - 8, "geometric"),
        )
        .replace(f"M0 {HEIGHT / 2} H{WIDTH} M{WIDTH / 2} 0 V{HEIGHT}", f"M0 {HEIGHT} H{WIDTH} M0 0 V{HEIGHT}")
        .replace(f'<text class="small" x="{WIDTH - 8}" y="{HEIGHT / 2 + 16}">z</text>\n', ""),
    }


def study() -> str:
    """From the file of a study to its verdicts."""
    return diagram(
        420,
        190,
        box(0, 5, 120, "study.yaml", "settings and claims"),
        arrow("run", (120, 28), (165, 28)),
        box(165, 5, 110, "study run", "one trial for each", "combination, seed"),
        arrow("run", (275, 28), (315, 28)),
        box(315, 5, 105, "study.db", "a result a trial"),
        arrow("run", (372, 51), (372, 110), (60, 110), (60, 140)),
        arrow("run", (165, 110), (165, 140)),
        arrow("run", (270, 110), (270, 140)),
        arrow("run", (372, 110), (372, 140)),
        box(10, 140, 95, "study ask", "verdicts"),
        box(115, 140, 95, "study report", "a page"),
        box(220, 140, 95, "study plot", "figures, tables"),
        box(325, 140, 95, "study export", "csv, json, ..."),
    )


def cluster() -> str:
    """The command, the scheduler, the workers and the store of a study on a cluster."""
    workers = [
        box(270, top, 150, f"dask worker {i}", "one trial a thread") for i, top in enumerate((10, 80, 150), start=1)
    ]
    return diagram(
        420,
        260,
        box(0, 80, 125, "study run", "plans and judges"),
        arrow("run", (125, 95), (165, 95)),
        arrow("down", (165, 111), (125, 111)),
        box(165, 80, 75, "dask", "scheduler"),
        *workers,
        arrow("run", (202, 80), (202, 27), (270, 27)),
        arrow("down", (270, 40), (215, 40), (215, 80)),
        arrow("run", (240, 95), (270, 95)),
        arrow("down", (270, 111), (240, 111)),
        arrow("run", (202, 126), (202, 180), (270, 180)),
        arrow("down", (270, 167), (215, 167), (215, 126)),
        arrow("down", (62, 126), (62, 190)),
        box(0, 190, 125, "folder: study.db", "written here alone"),
        words(0, 14, "trials, data, code", ""),
        words(0, 32, "results, checkpoints", "change"),
    )


def pictures() -> dict[str, str]:
    """Names of files with what stands in them."""
    return {
        "feedback-bp.svg": feedback(
            "backpropagation", "each layer's own weights", {2: "W3 transposed", 1: "W2 transposed"}, direct=False
        ),
        "feedback-fa.svg": feedback(
            "FA, sign-symmetric",
            "B: fixed, random; or signs of W",
            {2: "B3 transposed", 1: "B2 transposed"},
            direct=False,
        ),
        "feedback-dfa.svg": feedback("DFA", "from the error to each layer", {2: "B2", 1: "B1"}, direct=True),
        **widths(),
        "study.svg": study(),
        "cluster.svg": cluster(),
    }


if __name__ == "__main__":
    for name, content in pictures().items():
        (PICTURES / name).write_text(content, encoding="utf-8")
    print(f"Wrote {len(pictures())} diagrams.")
