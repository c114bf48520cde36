"""Plots draw the numbers of their records; without Matplotlib one line says so."""

import math
import sys

import pytest

from tieless.diagnose import AlignmentRow, SlopeProfile
from tieless.errors import MissingExtraError
from tieless.report import plot_alignment, plot_history, plot_norms, plot_slopes

STEPS = (0, 50, 100)
LAYERS = ("conv", "fc")


def _row(kind, layer, step, cosine):
    return AlignmentRow(step, kind, layer, cosine, 0.5, 1.0, 0.5, norm=cosine / 10, reference_norm=0.2)


ROWS = [
    _row(kind, layer, step, 0.1 * (place + 1) + step / 1000)
    for step in STEPS
    for kind in ("weights", "feedback")
    for place, layer in enumerate(("", *LAYERS))
]
PROFILE = SlopeProfile(
    "act", "relu", "full_jam", (0.0, 1.0, 2.0), (0.25, 0.75), (0.0, 1.0, 2.0), (0.5,) * 3, (1.0,) * 3
)


def _lines(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_alignment_by_depth():
    pytest.importorskip("matplotlib")
    weights, feedback = plot_alignment(ROWS).axes
    assert [label.get_text() for label in weights.get_xticklabels()] == list(LAYERS)
    assert _lines(weights).keys() == {"step 0", "step 50", "step 100"}
    assert _lines(weights)["step 50"] == pytest.approx([0.25, 0.35])
    assert _lines(feedback) == _lines(weights)


def test_alignment_over_time():
    pytest.importorskip("matplotlib")
    (axes,) = plot_history(ROWS).axes
    assert _lines(axes)["conv"] == pytest.approx([0.2, 0.25, 0.3])
    assert _lines(axes)["all weights"] == pytest.approx([0.1, 0.15, 0.2])
    many = [_row("weights", f"layer{n}", 0, 0.5) for n in range(100)]
    assert len(_lines(plot_history(many).axes[0])) == 13


def test_norms_of_the_last_measurement():
    pytest.importorskip("matplotlib")
    weights, _ = plot_norms([*ROWS, _row("weights", "dead", 100, 0.0)]).axes
    untied, reference = _lines(weights).values()
    assert untied[:2] == pytest.approx([0.03, 0.04])
    assert math.isnan(untied[2])
    assert reference == [0.2] * 3
    assert weights.get_yscale() == "log"


@pytest.mark.parametrize("count", [1, 5])
def test_slopes_over_the_histogram(count):
    pytest.importorskip("matplotlib")
    figure = plot_slopes([PROFILE] * count)
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_title(loc="left")]
    assert len(shown) == count
    assert _lines(shown[0]) == {"tied slope": [1.0] * 3, "slope of the rule": [0.5] * 3}


def test_it_draws_without_a_warning(tmp_path):
    pytest.importorskip("matplotlib")
    for number, figure in enumerate(
        (plot_alignment(ROWS), plot_history(ROWS), plot_norms(ROWS), plot_slopes([PROFILE]))
    ):
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


def test_without_matplotlib_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot, records in ((plot_alignment, ROWS), (plot_history, ROWS), (plot_norms, ROWS), (plot_slopes, [PROFILE])):
        with pytest.raises(MissingExtraError, match=r"needs matplotlib.*pip install '\.\[report\]'"):
            plot(records)
