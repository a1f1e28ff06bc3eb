"""What one variant's history comes to, in the figures that are laid side by side; pure."""

from __future__ import annotations

from collections.abc import Mapping

from faults.arrivals import arrivals
from faults.plan import Plan
from reports import statistics
from reports.checkers.follow import chains_of
from reports.history import owner_of
from reports.index import Index, Log, Op
from reports.report import Report
from reports.told_gone import ToldGone, together, told_gone
from reports.what_if import Figures

S = 1_000_000_000


def figures_of(index: Index, report: Report, plan: Plan, counters: Mapping[str, int]) -> Figures:
    """The figures of a judged history; `counters` are the world's own: redelivered, redispatched, pending."""
    found = statistics.reconnects(index)
    gaps = [one.shown() for one in found]
    gone = told_gone(index, chains_of(index))
    by_agent: dict[str, ToldGone] = {}
    for client, one in gone.items():
        agent = owner_of(client)
        by_agent[agent] = together({"before": by_agent.get(agent, ToldGone()), "more": one})
    live = report.latency
    healed_s, converged_s = report.healed_s, report.converged_s
    findings = {one.guarantee: one.findings for one in report.guarantees if one.findings}
    return Figures(
        guarantees={one.guarantee: one.verdict for one in report.guarantees},
        findings=findings,
        events=report.counts["events acknowledged"],
        unacknowledged=report.counts["publishes unknown"],
        deliveries=report.counts["deliveries"],
        lost=findings.get("G1", 0),
        told_gone=together(by_agent),
        told_gone_by_agent=by_agent,
        told_410=report.counts["410s told"],
        told_gap=report.counts["gaps told"],
        redelivered=counters["redelivered"],
        redispatched=counters["redispatched"],
        pending=counters["pending"],
        reconnects=sum(one.outcome != "refused" for one in gaps),
        longest_away_s=max((one.away_s for one in gaps), default=0.0),
        replayed=sum(one.replayed for one in found),
        refused=sum(one.outcome == "refused" for one in gaps),
        after_outage_s=after_outages_s(index, plan),
        after_window_s=None if healed_s is None or converged_s is None else round(converged_s - healed_s, 3),
        live_p50_ms=None if live is None else live.p50_ms,
        live_p99_ms=None if live is None else live.p99_ms,
        live_max_ms=None if live is None else live.max_ms,
    )


def after_outages_s(index: Index, plan: Plan) -> float | None:
    """How long after its outage's end the last event reached an agent that had come up by then; None without outages.

    Only agents that were at work when it ended, and only while they stayed so: who sleeps is caught up when it wakes.
    Of several outages the one that took longest.
    """
    safety_ns = index.phase_ns("safety")
    if not plan.faults or safety_ns is None:
        return None
    due_ns = {one.id: safety_ns + round(one.at_s * S) for one in arrivals(plan)}
    stays = {agent.name: agent.awake for agent in plan.agents}
    longest_ns = 0
    for over_s in sorted({fault.until_s for fault in plan.faults}):
        over_ns = safety_ns + round(over_s * S)
        for log in index.logs.values():
            for awake in stays[owner_of(log.agent)]:
                until_s = plan.duration_s + plan.converge_within_s if awake.until_s is None else awake.until_s
                if awake.from_s <= over_s < until_s:
                    last_ns = _last_ns(index, log, due_ns, over_ns, safety_ns + round(until_s * S))
                    longest_ns = max(longest_ns, last_ns - over_ns)
    return round(longest_ns / S, 3)


def _last_ns(index: Index, log: Log, due_ns: Mapping[str, int], over_ns: int, until_ns: int) -> int:
    """When a client last received what was due by the end of an outage; that end, if nothing came behind it."""
    ids, last_ns = index.events.ids, over_ns
    for op, t_ns, row in zip(log.op, log.t_ns, log.b, strict=True):
        if op == Op.DELIVER and over_ns < t_ns <= until_ns and due_ns.get(ids[row], over_ns + 1) <= over_ns:
            last_ns = t_ns
    return last_ns
