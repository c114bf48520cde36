"""The colours of the style sheet, judged by the formulas of WCAG 2.2."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

SHEET = (files("tieless.report") / "templates" / "style.css").read_text(encoding="utf-8")
COLOURS = {
    name: modes for name, *modes in re.findall(r"--([a-z0-9]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", SHEET)
}
TINTS = [f"{side}{step}" for side in "mp" for step in range(1, 5)]
CURVES = [f"c{i}" for i in range(6)] + ["ink", "grey"]
MODES = pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])

# Machado, Oliveira, Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1, on linear RGB.
SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> list[float]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(first: str, second: str) -> float:
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def lab(rgb: list[float]) -> list[float]:
    """CIE L*a*b* of linear sRGB, white D65."""
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    clipped = [min(max(part, 0.0), 1.0) for part in rgb]
    xyz = [
        sum(m * part for m, part in zip(row, clipped, strict=True)) / white
        for row, white in zip(matrix, (0.9505, 1.0, 1.089), strict=True)
    ]
    x, y, z = [value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz]
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def seen(colour: str, sight: str) -> list[float]:
    rgb = linear(colour)
    return lab([sum(m * part for m, part in zip(row, rgb, strict=True)) for row in SIGHT[sight]])


def test_the_formula_of_contrast_knows_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@MODES
@pytest.mark.parametrize("ground", ["page", "surface", "notice", *TINTS])
def test_text_can_be_read_on_every_ground(ground, mode):
    assert contrast(COLOURS["ink"][mode], COLOURS[ground][mode]) >= 4.5


@MODES
@pytest.mark.parametrize("text", ["soft", "link"])
@pytest.mark.parametrize("ground", ["page", "surface"])
def test_quiet_text_and_links_can_be_read(text, ground, mode):
    assert contrast(COLOURS[text][mode], COLOURS[ground][mode]) >= 4.5


@MODES
@pytest.mark.parametrize("curve", CURVES)
def test_curves_stand_out_from_the_page(curve, mode):
    assert contrast(COLOURS[curve][mode], COLOURS["page"][mode]) >= 3


@MODES
@pytest.mark.parametrize("sight", SIGHT)
def test_curves_differ_from_each_other_in_every_sight(sight, mode):
    colours = [seen(COLOURS[curve][mode], sight) for curve in CURVES]
    distances = [
        sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5
        for i, first in enumerate(colours)
        for second in colours[:i]
    ]
    assert min(distances) >= 25


@MODES
@pytest.mark.parametrize("sight", SIGHT)
def test_tints_get_deeper_in_order_and_their_two_sides_differ(sight, mode):
    page = seen(COLOURS["page"][mode], sight)

    def distance(first: list[float], second: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5

    for side in "mp":
        depth = [distance(seen(COLOURS[f"{side}{step}"][mode], sight), page) for step in range(1, 5)]
        assert depth == sorted(depth)
    for step in (2, 3, 4):
        pair = [seen(COLOURS[f"{side}{step}"][mode], sight) for side in "mp"]
        assert distance(*pair) >= 12
