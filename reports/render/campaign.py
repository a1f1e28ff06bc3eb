"""A campaign's report for people and CI: a page, Markdown for a job's summary, JUnit with every run's guarantees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from reports.campaign import CampaignReport, RunShown
from reports.render.markdown import MARKS
from reports.render.pages import rendered

FAILED_SHOWN_MAX = 20


def markdown(campaign: CampaignReport) -> str:
    """The summary; what failed comes first, each with the command that repeats it."""
    lines = [f"## {MARKS.get(campaign.verdict, '⚠️')} chaos: {campaign.verdict}: {campaign.reason}", ""]
    for run in campaign.failed[:FAILED_SHOWN_MAX]:
        lines += [f"**{run.plan}** {run.verdict}: {run.reason}", "", "```", run.command, "```", ""]
    rest = len(campaign.failed) - FAILED_SHOWN_MAX
    lines += [f"…and {rest} more runs that did not hold.", ""] if rest > 0 else []
    lines += [
        f"{_runs(campaign)} in {campaign.wall_s / 60:.1f} minutes, {campaign.started_at}: "
        + ", ".join(f"{number:,} {name}" for name, number in campaign.counts.items())
        + ".",
        "",
    ]
    targets = targets_of(campaign)
    if targets:
        lines += [
            "| faults with proof | " + " | ".join(targets) + " | all |",
            "|---" + "|---:" * (len(targets) + 1) + "|",
        ]
        for kind, by_target in campaign.faults.items():
            cells = [str(by_target.get(target, "")) for target in targets]
            lines.append(f"| {kind} | " + " | ".join(cells) + f" | {sum(by_target.values())} |")
        lines.append("")
    lines += ["| guarantee | trials |", "|---|---:|"]
    lines += [f"| {name} | {trials:,} |" for name, trials in campaign.guarantees.items()]
    lines += ["", f"<details><summary>{_runs(campaign)}</summary>", "", "| plan | verdict | events | faults |"]
    lines += ["|---|---|---:|---:|"]
    for run in campaign.runs:
        lines.append(
            f"| {run.plan} | {run.verdict} | {run.counts.get('events acknowledged', 0):,} | {proved(run.faults)} |"
        )
    lines += ["", "</details>", ""]
    lines += [f"> {note}\n" for note in campaign.notes]
    return "\n".join(lines).rstrip() + "\n"


def html(campaign: CampaignReport, promises: Mapping[str, str]) -> str:
    """The page that leads to every run's report; equal campaigns give equal pages. `promises` are the guarantees'."""
    return rendered(
        "campaign.html.j2",
        c=campaign,
        promises=promises,
        targets=targets_of(campaign),
        proved=proved,
        most=_most(campaign),
    )


def junit(campaign: CampaignReport, suites: Mapping[str, str]) -> str:
    """All runs in one document; `suites` are the runs' own, by plan. A run without one is a suite of one error."""
    root = ET.Element("testsuites", name="meshrelay chaos campaign", time=f"{campaign.wall_s:.3f}")
    for run in campaign.runs:
        root.append(ET.fromstring(suites[run.plan]) if run.plan in suites else _did_not_run(run))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _did_not_run(run: RunShown) -> ET.Element:
    suite = ET.Element(
        "testsuite", name=f"meshrelay {run.plan} seed {run.seed}", tests="1", failures="0", errors="1"
    )  # fmt: skip
    case = ET.SubElement(suite, "testcase", classname=f"meshrelay.{run.plan}", name="the run took place as asked")
    ET.SubElement(case, "error", message=run.reason, type=run.verdict).text = run.command
    return suite


def targets_of(campaign: CampaignReport) -> list[str]:
    """Every link and process that a fault was proved on, by name."""
    return sorted({target for by_target in campaign.faults.values() for target in by_target})


def proved(faults: Mapping[str, Mapping[str, int]]) -> int:
    """How many faults left proof."""
    return sum(sum(by_target.values()) for by_target in faults.values())


def _runs(campaign: CampaignReport) -> str:
    return "1 run" if len(campaign.runs) == 1 else f"{len(campaign.runs)} runs"


def _most(campaign: CampaignReport) -> int:
    return max((count for by_target in campaign.faults.values() for count in by_target.values()), default=1)
