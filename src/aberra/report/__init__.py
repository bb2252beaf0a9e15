"""One self-contained HTML page for a folder of results."""

from aberra.report.page import write_report

__all__ = ["write_report"]
