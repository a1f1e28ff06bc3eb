"""The report as one HTML page: no request leaves it, it follows light and dark, prints, and fits a phone."""

from __future__ import annotations

from markupsafe import Markup

from reports.render.pages import rendered
from reports.report import Report


def render(report: Report) -> str:
    """The page; equal reports give equal pages."""
    # the plotting library is a third of what every command would otherwise wait for at its start
    from reports.render import charts

    pictures = {
        "timeline": Markup(charts.timeline(report)) if report.timeline else "",
        "gaps": Markup(charts.reconnect_gaps(report)) if report.gaps else "",
        "latency": Markup(charts.latency(report)),
    }
    return rendered("page.html.j2", r=report, charts=pictures)
