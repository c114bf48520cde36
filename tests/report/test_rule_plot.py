"""Plots of rules: the numbers are those that the rules send, and the files show these numbers."""

import html
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import tieless as tl
from tieless.errors import RuleValueError, UntrainableError
from tieless.report import Line, curve_of, draw_rule
from tieless.report.rule_plot import AXES, INCHES, limits
from tieless.rules.catalogue import example

DOCS = Path(__file__).parents[2] / "docs"
POINTS = 72


def at(line: Line, place: float) -> float:
    """A line between its points."""
    for (x0, x1), (y0, y1) in zip(pairwise(line.x), pairwise(line.y), strict=True):
        if x0 <= place <= x1:
            return y0 + (y1 - y0) * (place - x0) / (x1 - x0)
    raise AssertionError(f"{place} is outside")


def drawn(svg: Path, name: str) -> list[tuple[float, float]]:
    """The points of a part of a plot, as they stand in the file: of its markers, else of its path."""
    part = re.search(rf'<g id="{name}">(.*?)</g>', svg.read_text(), re.DOTALL)[1]
    points = re.findall(r'<use [^>]*\bx="(\S+)" y="(\S+)"', part) or re.findall(r"[ML] (\S+) (\S+)", part)
    return [(float(x), float(y)) for x, y in points]


def placed(curve, x, y):
    """Place of a point of a curve on the page, by the size of the figure and its axes."""
    left, right, bottom, top = limits(curve)
    across = AXES[0] + AXES[2] * (x - left) / (right - left)
    up = AXES[1] + AXES[3] * (y - bottom) / (top - bottom)
    return across * INCHES[0] * POINTS, (1 - up) * INCHES[1] * POINTS


def expected(curve):
    step = 1 if curve.low is None else 3
    return [placed(curve, x, y) for x, y in zip(curve.sent.x[::step], curve.sent.y[::step], strict=True)]


@pytest.mark.parametrize("name", tl.rules())
def test_the_plots_of_the_catalogue_show_what_the_rules_send(name):
    """Compared by their numbers, whatever Matplotlib and fonts drew them."""
    file, curve = DOCS / "plots" / f"{name}.svg", curve_of(example(tl.rules()[name]))
    again = "python tools/rules_page.py draws them again"
    found = drawn(file, "sent")
    assert len(found) == len(expected(curve)), again
    for got, wanted in zip(found, expected(curve), strict=True):
        assert got == pytest.approx(wanted, abs=0.02), again
    if curve.output is not None:
        wanted = [placed(curve, x, y) for x, y in zip(curve.output.x, curve.output.y, strict=True)]
        assert drawn(file, "output") == [pytest.approx(point, abs=0.02) for point in wanted], again
    texts = html.unescape(file.read_text())
    assert f">{curve.rule}</text>" in texts
    assert ("64 calls" in texts) == (curve.low is not None)


def test_there_is_a_plot_for_each_rule_on_the_page_and_no_other_and_they_are_small():
    files = list((DOCS / "plots").iterdir())
    assert {file.name for file in files} == {f"{name}.svg" for name in tl.rules()}
    assert set(re.findall(r"\(plots/(\w+)\.svg\)", (DOCS / "rules.md").read_text())) == set(tl.rules())
    assert sum(file.stat().st_size for file in files) < 400_000


@pytest.mark.parametrize(
    ("spec", "formula"),
    [
        ("atan(0.5, 2)", lambda z: 2 / (1 + (z / 0.5) ** 2)),
        ("rectangular(-1, 0.7)", lambda z: float(-1 <= z <= 0.7)),
        ("tied", lambda z: 1 - math.tanh(z) ** 2),
        ("atan >> scale(-3)", lambda z: -3 / (1 + z * z)),
        ("frozen", lambda z: 0.0),
    ],
)
def test_a_curve_is_the_formula(spec, formula):
    curve = curve_of(tl.rule(spec))
    assert (curve.rule, curve.over, curve.low) == (str(tl.rule(spec)), "z", None)
    for z, sent in zip(curve.sent.x, curve.sent.y, strict=True):
        assert sent == pytest.approx(formula(z), abs=1e-9)
    for place in range(-28, 29):  # between the points, too
        assert at(curve.sent, place / 10) == pytest.approx(formula(place / 10), abs=0.02)


def test_a_step_is_drawn_upright():
    curve = curve_of(tl.rule("rectangular(-1, 0.7)"))
    assert len(curve.sent.x) == 6
    assert curve.sent.x[1:5] == pytest.approx([-1, -1, 0.7, 0.7], abs=2e-6)
    assert curve.sent.y == (0, 0, 1, 1, 0, 0)


def test_a_jam_is_a_band_and_one_call_inside_of_it():
    curve = curve_of(tl.rule("rectangular_jam(-1, 1, minimum=2, maximum=4)"))
    for z, sent in zip(curve.sent.x, curve.sent.y, strict=True):
        inside = -1 <= z <= 1
        assert 2 <= sent < 4 if inside else sent == 0
        assert at(curve.low, z) - 1e-9 <= sent <= at(curve.high, z) + 1e-9
    # That none of 64 draws is below 2.4 happens in 1 of 10^6 cases, and the keys are always the same.
    assert at(curve.low, 0.5) < 2.4
    assert at(curve.high, 0.5) > 3.6
    assert curve == curve_of(tl.rule("rectangular_jam(-1, 1, minimum=2, maximum=4)"))


def test_a_transform_is_drawn_over_the_feedback_of_a_whole_sample():
    curve = curve_of(tl.rule("normalize"))
    unit = torch.linspace(-2, 2, 97, dtype=torch.float64).square().mean().sqrt().item()
    assert (curve.over, curve.output) == ("feedback", None)
    assert curve.sent.x == (-2, 2)
    assert curve.sent.y == pytest.approx((-2 / unit, 2 / unit))
    clipped = curve_of(tl.rule("clip(0.5)")).sent
    assert (clipped.x, clipped.y) == (pytest.approx((-2, -0.5, 0.5, 2)), pytest.approx((-0.5, -0.5, 0.5, 0.5)))


def test_what_it_is_beside_can_be_chosen():
    assert curve_of(tl.rule("tied"), "gelu").forward == "gelu"
    assert curve_of(tl.rule("tied >> full_jam")).forward == "tanh"
    with pytest.raises(UntrainableError):
        curve_of(tl.rule("tied"), "sign")


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_file_is_written(tmp_path, kind):
    target = tmp_path / f"plot.{kind.upper()}"
    curve = curve_of(tl.rule("rectangular(-1, 1) >> noise(0.1)"))
    draw_rule(curve, target)
    start = target.read_bytes()[:8]
    assert start.startswith(b"<?xml" if kind == "svg" else b"\x89PNG")
    if kind == "svg":
        again = tmp_path / "again.svg"
        draw_rule(curve, again)
        assert again.read_bytes() == target.read_bytes()


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(RuleValueError, match=r"as .svg or .png, got '.*plot.pdf'"):
        draw_rule(curve_of(tl.rule("atan")), tmp_path / "plot.pdf")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_one_line_names_the_extra():
    program = """
import sys
sys.modules.update(matplotlib=None)
import tieless as tl
from tieless.errors import MissingExtraError
from tieless.report import curve_of, draw_rule
try:
    draw_rule(curve_of(tl.rule("frozen")), "plot.svg")
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        done.stdout == "This needs matplotlib, which is not installed: pip install '.[report]' in a clone of tieless.\n"
    )
