"""What a study found, to be looked at: records first (``collect``), then a page (``write``) or a terminal (``table``)."""

from tieless.report.collect import collect
from tieless.report.html import write
from tieless.report.records import Report
from tieless.report.terminal import table

__all__ = ["Report", "collect", "table", "write"]
