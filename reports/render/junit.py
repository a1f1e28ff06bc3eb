"""The report as JUnit XML: one test case for each guarantee, so that a CI service shows what failed."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from reports.report import GuaranteeResult, Report

SHOWN_MAX = 20


def render(report: Report) -> str:
    """The XML document."""
    failures = sum(one.verdict == "violated" for one in report.guarantees)
    open_ones = sum(one.verdict in ("not converged", "not tried") for one in report.guarantees)
    errors = int(report.verdict == "could not run")
    suite = ET.Element(
        "testsuite",
        name=f"meshrelay {report.plan} seed {report.seed}",
        tests=str(len(report.guarantees) + 1),
        failures=str(failures),
        errors=str(errors + open_ones),
        time=f"{report.duration_s:.3f}",
        timestamp=report.started_at,
    )
    run = ET.SubElement(suite, "testcase", classname=f"meshrelay.{report.plan}", name="the run took place as asked")
    if errors:
        ET.SubElement(run, "error", message=report.reason, type=report.verdict).text = report.command
    for one in report.guarantees:
        case = ET.SubElement(
            suite, "testcase", classname=f"meshrelay.{report.plan}", name=f"{one.guarantee}: {one.promise}"
        )
        if one.verdict == "violated":
            message = f"{one.findings} findings in {one.trials} {one.trial}"
            ET.SubElement(case, "failure", message=message, type="violated").text = _findings(report, one)
        elif one.verdict != "held":
            ET.SubElement(case, "error", message=one.verdict, type=one.verdict).text = report.command
    ET.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _findings(report: Report, result: GuaranteeResult) -> str:
    shown = [found for found in report.findings if found.guarantee == result.guarantee][:SHOWN_MAX]
    lines = [
        f"{found.at_s:.2f} s {found.kind} agent={found.agent} event={found.event} cursor={found.cursor}: {found.detail}"
        for found in shown
    ]
    return "\n".join([*lines, "again: " + report.command])
