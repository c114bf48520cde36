"""Results for display: records first, pictures second.

For a study: ``collect``, then a page (``write``) or a terminal (``table``). For a rule: ``curve_of``, then
``draw_rule``.
"""

from tieless.report.collect import collect
from tieless.report.figures import (
    FigureFormat,
    Kind,
    latex,
    plot_curves,
    plot_forest,
    plot_heatmap,
    plot_table,
    write_figure,
)
from tieless.report.html import write, write_table
from tieless.report.plots import plot_alignment, plot_history, plot_norms, plot_slopes
from tieless.report.records import Report
from tieless.report.rule_curve import Line, RuleCurve, curve_of
from tieless.report.rule_plot import draw_rule
from tieless.report.terminal import claims, table, table_claim, table_summary
from tieless.report.watch import Watch

__all__ = [
    "FigureFormat",
    "Kind",
    "Line",
    "Report",
    "RuleCurve",
    "Watch",
    "claims",
    "collect",
    "curve_of",
    "draw_rule",
    "latex",
    "plot_alignment",
    "plot_curves",
    "plot_forest",
    "plot_heatmap",
    "plot_history",
    "plot_norms",
    "plot_slopes",
    "plot_table",
    "table",
    "table_claim",
    "table_summary",
    "write",
    "write_figure",
    "write_table",
]
