"""A run as a page to look at: hosts as lanes, messages as arrows, faults as shading, a finding's event marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from faults.plan import Plan
from reports.history import Bookmark, Deliver, Fault, Gap, Gone, Phase, Process, Publish, Published, Record
from reports.report import FindingShown
from sim.trace import Segment, hosts_of
from sim.trial import Trial

SEGMENTS_MAX = 20_000
"""Of a longer run those nearest to the finding are kept, and the page says how many were left out."""


def write_timeline(
    path: Path,
    plan: Plan,
    trial: Trial,
    segments: Sequence[Segment],
    records: Sequence[Record],
    finding: FindingShown | None,
) -> None:
    """Write the page, which needs nothing but itself. Raises OSError."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sim", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    document = timeline(plan, segments, records, finding)
    # inside a script element, where no `</` may stand
    data = msgspec.json.encode(document).decode().replace("<", "\\u003c")
    page = environment.get_template("timeline.html.j2").render(plan=plan, trial=trial, finding=finding, data=data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def timeline(
    plan: Plan, segments: Sequence[Segment], records: Sequence[Record], finding: FindingShown | None
) -> dict[str, Any]:
    """What the page draws; times in ms."""
    focus_ns = round(finding.at_s * 1e9) if finding is not None else records[-1].t_ns if records else 0
    kept = sorted(segments, key=lambda one: abs(one.t_ns - focus_ns))[:SEGMENTS_MAX]
    hosts = hosts_of(segments)
    lane = {name: number for number, name in enumerate(hosts)}
    return {
        "hosts": hosts,
        "focus": focus_ns / 1e6,
        "end": (records[-1].t_ns if records else focus_ns) / 1e6,
        "omitted": len(segments) - len(kept),
        "segments": [
            [one.sent_ns / 1e6, one.t_ns / 1e6, lane[one.source], lane[one.target], one.text]
            for one in sorted(kept, key=lambda one: one.sent_ns)
        ],
        "faults": faults_of(records, hosts),
        "marks": list(_marks(records, lane)),
        "life": life_of(records, finding, lane),
    }


def faults_of(records: Sequence[Record], hosts: Sequence[str]) -> list[dict[str, Any]]:
    """From when to when each fault was on, and on which lanes."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if not isinstance(record, Fault):
            continue
        if record.phase == "effective":
            kinds = record.target.split("-") if record.target not in hosts else [record.target]
            lanes = [number for number, name in enumerate(hosts) if any(name.startswith(kind) for kind in kinds)]
            found[record.fault] = {
                "from": record.t_ns / 1e6,
                "until": None,
                "lanes": lanes,
                "text": f"{record.what} on {record.target}",
            }
        elif record.phase == "lifted" and record.fault in found:
            found[record.fault]["until"] = record.t_ns / 1e6
    return list(found.values())


def _marks(records: Sequence[Record], lane: dict[str, int]) -> Any:
    for record in records:
        match record:
            case Phase(name=name):
                yield [record.t_ns / 1e6, None, name]
            case Process(name=name, what=what) if name in lane:
                yield [record.t_ns / 1e6, lane[name], what]
            case _:
                pass


def life_of(records: Sequence[Record], finding: FindingShown | None, lane: dict[str, int]) -> list[list[Any]]:
    """The life of a finding's event: sent, acknowledged, delivered to whom, and what its agent was told meanwhile."""
    if finding is None:
        return []
    life: list[list[Any]] = []

    def note(record: Record, host: str, text: str) -> None:
        life.append([record.t_ns / 1e6, lane.get(host), text])

    for record in records:
        match record:
            case Publish(id=finding.event, publisher=publisher):
                note(record, f"publisher.{publisher}", "sent")
            case Published(id=finding.event, publisher=publisher, outcome=outcome, cursor=cursor):
                note(record, f"publisher.{publisher}", f"{outcome} {cursor or ''}".strip())
            case Deliver(id=finding.event, agent=agent, cursor=cursor):
                note(record, f"agent.{agent}", f"delivered {cursor}")
            case Gap(agent=finding.agent) | Gone(agent=finding.agent):
                note(record, f"agent.{finding.agent}", f"told: {type(record).__name__.lower()}")
            case Bookmark(agent=finding.agent, cursor=finding.cursor):
                note(record, f"agent.{finding.agent}", f"bookmark {finding.cursor}")
            case _:
                pass
    life.append([finding.at_s * 1e3, lane.get(f"agent.{finding.agent}"), finding.kind])
    return life
