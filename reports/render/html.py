"""The report as one HTML page: no request leaves it, it follows light and dark, prints, and fits a phone."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from reports.report import Report


def render(report: Report) -> str:
    """The page; equal reports give equal pages."""
    # the plotting library is a third of what every command would otherwise wait for at its start
    from reports.render import charts

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports.render", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    pictures = {
        "timeline": Markup(charts.timeline(report)) if report.timeline else "",
        "gaps": Markup(charts.reconnect_gaps(report)) if report.gaps else "",
        "latency": Markup(charts.latency(report)),
    }
    return environment.get_template("page.html.j2").render(r=report, charts=pictures)
