"""Write docs/images/, the pictures of README and home page: a forward, a rule, and the gradient that it passes down.

python tools/home_pictures.py
python tools/home_pictures.py runs/quickstart    and the first screen of this folder's report, light and dark

All curves are what the library computes. A picture follows the reader's theme, light or dark.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

import tieless as tl

PICTURES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, HEIGHT, TOP, BORDER = 205, 110, 42, 7
"""Size of the axes, height of the two lines of title above them, and space around all, in pixels."""

LEFT, RIGHT, LOWEST, HIGHEST = -2.0, 2.0, -1.25, 1.25
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.axis { stroke: #c8ccd2; fill: none }
.forward { stroke: #59636e } .native { stroke: #8a8f98; stroke-dasharray: 5 4 } .rule { stroke: #c2410c }
.curve { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.feedback { stroke: #8a8f98; stroke-width: 1.2 } .sent { stroke: #1d6fb8 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9aa4af } .axis { stroke: #4a4f57 }
  .forward { stroke: #c8ccd2 } .rule { stroke: #ff9b64 } .sent { stroke: #6cb6ff }
}
"""


def curve(z: torch.Tensor, values: torch.Tensor, kind: str) -> str:
    """A curve over ``z`` as one element of SVG."""
    points: Iterable[tuple[float, float]] = zip(z.tolist(), values.tolist(), strict=True)
    places = (
        f"{(x - LEFT) / (RIGHT - LEFT) * WIDTH:.1f},{(HIGHEST - y) / (HIGHEST - LOWEST) * HEIGHT:.1f}"
        for x, y in points
    )
    return f'<polyline class="curve {kind}" points="{" ".join(places)}"/>'


def drawing(width: int, height: int, style: str, *parts: str) -> str:
    """Text of an SVG file: its parts within a border."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2 * BORDER}" height="{height + 2 * BORDER}">',
            f"<style>{style}</style>",
            f'<g transform="translate({BORDER} {BORDER})">',
            *parts,
            "</g></svg>",
            "",
        ]
    )


def picture(title: str, subtitle: str, *curves: str) -> str:
    """One picture: its titles, its axes and its curves."""
    return drawing(
        WIDTH,
        TOP + HEIGHT,
        STYLE,
        f'<text y="14">{title}</text><text class="small" y="32">{subtitle}</text>',
        f'<g transform="translate(0 {TOP})">',
        f'<path class="axis" d="M0 {HEIGHT / 2} H{WIDTH} M{WIDTH / 2} 0 V{HEIGHT}"/>',
        f'<text class="small" x="{WIDTH - 8}" y="{HEIGHT / 2 + 16}">z</text>',
        *curves,
        "</g>",
    )


def pictures() -> dict[str, str]:
    """Names of files with what stands in them."""
    # An even number of places: none lies at the jump of the forward.
    z = torch.linspace(LEFT, RIGHT, 400, requires_grad=True)
    places, ones = z.detach(), torch.ones_like(z)
    feedback = torch.sin(3 * places) * torch.exp(-0.1 * places.square())

    def sent(backward: str, grad_output: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(tl.untie(z, "heaviside", backward), z, grad_output)[0]

    window = "rectangular(-0.5, 0.5)"
    return {
        "forward.svg": picture(
            "forward: heaviside",
            "what the network computes",
            curve(places, tl.untie(places, "heaviside", window), "forward"),
        ),
        "rule.svg": picture(
            f"rule: {window}",
            "in place of the derivative (dashed)",
            curve(places, sent("frozen", ones), "native"),
            curve(places, sent(window, ones), "rule"),
        ),
        "gradient.svg": picture(
            "gradient passed down",
            "incoming gradient (thin) x rule",
            curve(places, feedback, "feedback"),
            curve(places, sent(window, feedback), "sent"),
        ),
    }


def report_pictures(folder: str) -> dict[str, bytes]:
    """Names of files with the first screen of a report in each theme, as PNG of few colours."""
    from PIL import Image  # noqa: PLC0415 - for this alone
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    from tieless.report import write  # noqa: PLC0415

    address, found = write(Path(folder)).resolve().as_uri(), {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1000, "height": 960}, color_scheme=theme)
            page.goto(address)
            small = io.BytesIO()
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(48).save(small, "png", optimize=True)
            found[f"report-{theme}.png"] = small.getvalue()
    return found


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, content in pictures().items():
        (PICTURES / name).write_text(content, encoding="utf-8")
    for name, image in report_pictures(sys.argv[1]).items() if sys.argv[1:] else ():
        (PICTURES / name).write_bytes(image)
    print(f"Wrote {len(pictures())} pictures.")
