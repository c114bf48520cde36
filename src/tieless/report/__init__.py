"""Results for display: records first, pictures second.

For a study: ``collect``, then a page (``write``) or a terminal (``table``). For a rule: ``curve_of``, then
``draw_rule``.
"""

from tieless.report.collect import collect
from tieless.report.html import write
from tieless.report.plots import plot_alignment, plot_history, plot_norms, plot_slopes
from tieless.report.records import Report
from tieless.report.rule_curve import Line, RuleCurve, curve_of
from tieless.report.rule_plot import draw_rule
from tieless.report.terminal import claims, table, table_claim, table_summary

__all__ = [
    "Line",
    "Report",
    "RuleCurve",
    "claims",
    "collect",
    "curve_of",
    "draw_rule",
    "plot_alignment",
    "plot_history",
    "plot_norms",
    "plot_slopes",
    "table",
    "table_claim",
    "table_summary",
    "write",
]
