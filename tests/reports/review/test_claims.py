"""The ADR's claims from evidence: what confirms, what refutes, and what shows nothing."""

from __future__ import annotations

from html import unescape
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.api import ALL_PROMISES
from reports.options import Cell, OptionsReport, crossings_of, rows_of
from reports.render import envelope
from reports.render import review as rendering
from reports.review.adr import evidence
from reports.review.assemble import review_of
from reports.review.claims import ADR_EVENTS
from reports.review.document import Claim, Review
from reports.review.evidence import Evidence, GapTrial, Hunt, Outage, Provenance, SamePlan, Window
from tests.reports.test_options import near, samples

RUN = Provenance(started_at="2026-01-01T00:00:00+00:00", commit="abc", bug=None, minutes=5.0, machine={}, versions={})
WINDOW = Window(
    days=21.0,
    events=ADR_EVENTS,
    agents=12,
    verdict="held",
    reason="nothing was lost",
    acknowledged=ADR_EVENTS,
    deliveries=20_000,
    lost=0,
    redelivered=0,
    pending=0,
    redispatched=0,
    told_gone=0,
    longest_gap_s=57_000.0,
    command="meshrelay sim window",
)
GAP = GapTrial(
    transport="cursor",
    retention_class="critical",
    retention_s=604_800.0,
    gap_s=600_000.0,
    seed=1,
    events=4,
    delivered=4,
    told=0,
    lost=0,
    within=4,
    notice="none",
)


def options(**broken: str) -> OptionsReport:
    """Every promise of option C was tried 100 times; those that are named here were broken, and why."""
    cells = [
        Cell(
            guarantee=name,
            transport="cursor",
            verdict="violated" if name in broken else "held",
            seeds=100,
            violated_in=int(name in broken),
            real_runs=0,
            why=broken.get(name, ""),
            command="meshrelay sim run --seed 3",
        )
        for name in ALL_PROMISES
    ]
    return OptionsReport(
        started_at="",
        answer=[],
        cells=cells,
        rows=[],
        replays=[],
        crossings=[],
        limits={},
        commands={},
        versions={},
        machine={},
        missing=[],
    )


def measured(theirs: float, other: str, *, sizes: tuple[int, ...] = (10, 50, 100, 500), runs: int = 3) -> OptionsReport:
    """Option C costs 10 at every size, another so much."""
    both = [
        one
        for transport, cost in (("cursor", 10.0), (other, theirs))
        for one in samples(transport, {size: near(cost)[:runs] for size in sizes})
    ]
    rows = rows_of(both)
    held = [msgspec.structs.replace(cell, transport=other) for cell in options().cells]
    return msgspec.structs.replace(options(), rows=rows, crossings=crossings_of(rows), cells=[*options().cells, *held])


def review(**parts: Any) -> Review:
    """What follows from all that is good, but for these parts."""
    good = Evidence(provenance=RUN, options=options(), window=WINDOW, gaps=[GAP])
    return review_of(msgspec.structs.replace(good, **parts), ALL_PROMISES, {})


def claim(name: str, **parts: Any) -> Claim:
    """One claim of that review."""
    return next(one for one in review(**parts).claims if one.name == name)


QUIET = ("events", "lost", "redeliveries", "pending", "stale-redispatches")


@pytest.mark.parametrize("name", ["suffices", "retention", *QUIET])
def test_what_good_evidence_confirms(name: str) -> None:
    """Every claim but those of costs; how many events there were is what was played, and no finding."""
    assert claim(name).status == ("played" if name == "events" else "confirmed")


@pytest.mark.parametrize("name", QUIET)
def test_part_of_the_window_confirms_nothing(name: str) -> None:
    """Twenty days are not twenty-one; how many there were is said."""
    found = claim(name, window=msgspec.structs.replace(WINDOW, days=20.0, acknowledged=12_600))
    assert found.status == "not shown"
    assert found.evidence[0] == "Only 20 of 21 days were played (12,600 events), and held."
    assert claim(name, window=None).status == "not shown"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("lost", "lost"),
        ("redeliveries", "redelivered"),
        ("pending", "pending"),
        ("stale-redispatches", "redispatched"),
    ],
)
@pytest.mark.parametrize("days", [21.0, 3.0])
def test_one_is_not_none(name: str, field: str, days: float) -> None:
    """A single one refutes, in however few days; the other claims stand, and the verdict is a breach."""
    found = review(window=msgspec.structs.replace(WINDOW, days=days, **{field: 1}))
    refuted = [one.name for one in found.claims if one.status == "refuted"]
    assert refuted == [name]
    assert found.claims[[one.name for one in found.claims].index(name)].evidence[0].startswith("1 in ")
    assert (found.verdict, found.exit_code) == ("violated", 1)


def test_fewer_events_than_the_adr_s_are_another_window() -> None:
    """All 13,228 were to be acknowledged."""
    assert claim("events", window=msgspec.structs.replace(WINDOW, acknowledged=ADR_EVENTS - 1)).status == "refuted"


@pytest.mark.parametrize(
    ("guarantee", "name"), [("G1", "lost"), ("G2", "lost"), ("G8", "lost"), ("G4", "redeliveries"), ("G6", "pending")]
)
def test_a_promise_broken_under_faults_refutes_what_it_stands_for(guarantee: str, name: str) -> None:
    """However quiet the quiet days were; with the seed's command, and first of all the claim that C is enough."""
    found = review(options=options(**{guarantee: "seed 3 says so"}))
    by_name = {one.name: one for one in found.claims}
    assert by_name["suffices"].status == by_name[name].status == "refuted"
    assert by_name[name].command == "meshrelay sim run --seed 3"
    assert "seed 3 says so" in by_name[name].evidence[0]
    assert (found.verdict, found.exit_code) == ("violated", 1)
    assert found.answer.right[0].startswith(f"No: C: cursor broke {guarantee}.")


def test_a_promise_that_was_not_tried_leaves_the_decision_open() -> None:
    """It is named, and nothing is confirmed by the others."""
    some = options()
    cells = [
        msgspec.structs.replace(one, verdict="not run", seeds=0) if one.guarantee == "G8" else one for one in some.cells
    ]
    found = review(options=msgspec.structs.replace(some, cells=cells))
    assert found.claims[0].status == "not shown"
    assert found.claims[0].evidence[0] == "G8 was not put to the test."
    assert found.answer.right[0].startswith("As far as was tried, yes: ")


@pytest.mark.parametrize(
    "change", [{"lost": 1, "delivered": 3}, {"told": 1, "delivered": 3}], ids=["in silence", "told too early"]
)
def test_what_retention_promised_and_did_not_keep(change: dict[str, int]) -> None:
    """Lost without a word, or gone though it was young enough."""
    found = review(gaps=[GAP, msgspec.structs.replace(GAP, **change)])
    (refuted,) = [one for one in found.claims if one.status == "refuted"]
    assert refuted.name == "retention"
    assert found.exit_code == 1


def test_absences_beyond_retention_alone_show_nothing() -> None:
    """Nothing was promised to them."""
    beyond = msgspec.structs.replace(GAP, within=0, delivered=0, told=4, notice="410")
    assert claim("retention", gaps=[beyond]).status == "not shown"
    assert claim("retention", gaps=[]).status == "not shown"


def test_fifty_agents() -> None:
    """Confirmed where the curves cross near 50, refuted where they don't, not shown by too few sizes or runs."""
    sizes = (10, 50, 100, 500)
    rows = rows_of(
        samples("cursor", {size: near(10.0) for size in sizes})
        + samples("jetstream", {size: near(30.0 if size < 60 else 3.0) for size in sizes})
    )
    crossing = msgspec.structs.replace(options(), rows=rows, crossings=crossings_of(rows))
    assert claim("fifty-agents", options=crossing).status == "confirmed"
    assert claim("fifty-agents", options=measured(5.0, "jetstream")).status == "refuted"
    assert claim("fifty-agents", options=measured(5.0, "jetstream", sizes=(10, 50))).status == "not shown"
    few = claim("fifty-agents", options=measured(5.0, "jetstream", runs=2))
    assert (few.status, few.evidence[0]) == ("not shown", "Measured in 2 runs of each; expected at least 3.")
    assert claim("fifty-agents").status == "not shown"


def test_a_refuted_threshold_is_no_breach() -> None:
    """It is said on the first screen, and what was chosen stands."""
    found = review(options=measured(5.0, "jetstream"))
    assert (found.verdict, found.exit_code) == ("held", 0)
    assert any(line.startswith("Refuted: Per-agent JetStream consumers") for line in found.answer.right)


def test_redis() -> None:
    """Redundant if it costs no less and keeps no more."""
    assert claim("redis-redundant", options=measured(20.0, "redis")).status == "confirmed"
    assert claim("redis-redundant", options=measured(5.0, "redis")).status == "refuted"
    assert claim("redis-redundant").status == "not shown"


@given(st.integers(1, 5_000), st.integers(0, 40))
def test_no_verdict_without_its_trials_and_limit(trials: int, real: int) -> None:
    """Each promise has the number of its trials and the exact limit beside it."""
    some = options()
    cells = [msgspec.structs.replace(one, seeds=trials, real_runs=real) for one in some.cells]
    for one in review(options=msgspec.structs.replace(some, cells=cells)).promises:
        assert (one.simulated.trials, one.real.trials, one.simulated.failures) == (trials, real, 0)
        assert one.simulated.upper_limit == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-9)


def outage(length_s: float, **change: Any) -> Outage:
    """An outage in which all went well, but for this."""
    good = Outage(
        transport="cursor",
        what="postgres",
        how="killed",
        length_s=length_s,
        seed=1,
        verdict="held",
        reason="",
        violated=(),
        events=9,
        refused=0,
        delivered=9,
        lost=0,
        told_critical=0,
        told_standard=0,
        caught_up_s=length_s / 100,
        command=f"again {length_s:g}",
    )
    return msgspec.structs.replace(good, **change)


def test_the_envelope_s_edges() -> None:
    """The longest with nothing gone, the shortest told, the shortest broken; an outage in between does not hide."""
    outages = [
        outage(60.0),
        outage(3_600.0),
        outage(86_400.0, told_standard=2),
        outage(259_200.0),
        outage(777_600.0, verdict="violated", violated=("G1",), lost=3),
    ]
    (row,) = review(outages=list(reversed(outages))).envelope
    assert (row.nothing_gone_s, row.told_s, row.broken_s, row.longest_s) == (3_600.0, 86_400.0, 777_600.0, 777_600.0)
    assert (row.broken, row.caught_up_s, row.command) == (["G1"], 7_776.0, "again 777600")
    (whole,) = review(outages=outages[:2]).envelope
    assert (whole.nothing_gone_s, whole.told_s, whole.broken_s) == (3_600.0, None, None)


def test_an_outage_that_breaks_a_promise_breaks_it_where_promises_are_summed_up() -> None:
    """Of the option that it was over; with what was away for how long, its reason and its command."""
    broke = outage(259_200.0, transport="jetstream", verdict="violated", violated=("G4",), reason="5 twice")
    found = review(options=measured(20.0, "jetstream"), outages=[outage(60.0), broke])
    theirs = {one.guarantee: one for one in found.promises if one.transport == "jetstream"}
    assert (theirs["G4"].verdict, theirs["G4"].away) == ("violated", ["Postgres away for 3 d"])
    assert (theirs["G4"].why, theirs["G4"].command) == ("Postgres away for 3 d: 5 twice", "again 259200")
    assert theirs["G1"].verdict == "held"
    assert found.verdict == "held"
    assert found.answer.right[0].endswith("A: JetStream consumers gives less: G4 (Postgres away for 3 d).")
    less = "Cost aside, A: JetStream consumers gives less: G4 violated."
    assert less in next(one.evidence for one in found.claims if one.name == "fifty-agents")
    said = "broke a promise of C: cursor in 0 of 1, of A: JetStream consumers in 1 of 1."
    assert f"Outages of one part, 1 min to 3 d, {said}" in found.answer.sure
    for text in (rendering.markdown(found), rendering.html(found), evidence(found)):
        assert "with Postgres away for 3 d" in text


def test_an_outage_that_breaks_what_was_chosen_is_a_breach() -> None:
    """A single run that breaks a promise does."""
    found = review(outages=[outage(60.0, verdict="violated", violated=("G1",), reason="lost")])
    assert (found.verdict, found.exit_code) == ("violated", 1)
    assert found.answer.right[0] == "No: C: cursor broke G1. Postgres away for 1 min: lost"


def test_an_outage_that_outlasts_the_stream_is_told_and_breaks_no_promise() -> None:
    """The edge of the envelope stands beside the promise, and the decision with it."""
    found = review(outages=[outage(777_600.0, verdict="violated", violated=("G1",))])
    (promise,) = [one for one in found.promises if one.guarantee == "G1"]
    assert (promise.verdict, found.verdict) == ("held", "held")
    assert promise.away == ["Postgres away for 9 d (longer than the stream keeps events)"]
    assert "broken with Postgres away for 9 d" in rendering.markdown(found)


def test_the_envelope_says_how_long_was_tried() -> None:
    """Never is a word for nobody; a longer outage that broke nothing is not hidden by a shorter one that did."""
    lengths = (60.0, 86_400.0, 259_200.0, 777_600.0)
    outages = [
        outage(one, verdict="violated", violated=("G4",)) if one == lengths[2] else outage(one) for one in lengths
    ]
    (row,) = review(outages=outages).envelope
    assert (row.tried_s, row.broken_at_s) == (list(lengths), [lengths[2]])
    assert envelope.cells(row)[2:] == ["1 d", "not up to 9 d", "3 d: G4 (held at 9 d)", "1 min, 1 d, 3 d, 9 d"]
    (short,) = review(outages=outages[:2]).envelope
    assert envelope.cells(short)[2:] == ["1 d", "not up to 1 d", "not up to 1 d", "1 min, 1 d"]


def test_no_sentence_is_cut() -> None:
    """Why a claim is refuted or not shown, and why a promise broke, is said to its end wherever it is said."""
    why = "of the events that were acknowledged " + "and were never delivered " * 30 + "one was the last"
    for found in (review(options=options(G4=why)), review(options=measured(5.0, "jetstream"))):
        (refuted, *_) = [one for one in found.claims if one.status == "refuted"]
        assert any(line.endswith(refuted.evidence[0]) for line in found.answer.right)
        texts = (rendering.markdown(found), evidence(found), unescape(rendering.html(found)))
        assert all(refuted.evidence[0] in text and "…" not in text for text in texts)


def test_few_trials_are_called_weak() -> None:
    """With their number and the limit; many are not."""
    same = SamePlan(plan="main", simulated="held", real="held", outcome="same", command="again")
    one, many = review(plans=[same]), review(plans=[same] * 40)
    line = "Simulation and real stack came to the same verdict in 1 of 1 plan (weak, n = 1: up to 95 % of plans drawn"
    assert any(said.startswith(line) for said in one.answer.sure)
    assert "Simulation and real stack came to the same verdict in 40 of 40 plans." in many.answer.sure


def test_the_costs_by_the_number_of_agents_are_in_every_rendering() -> None:
    """They drive the decision: one row for each cost, medians of the options side by side."""
    found = review(options=measured(5.0, "jetstream"))
    row = "| processor time, ms for 1,000 deliveries | 10 / 5 | 10 / 5 | 10 / 5 | 10 / 5 |"
    assert row in rendering.markdown(found)
    assert row in evidence(found)
    assert "Medians of C: cursor / A: JetStream consumers" in rendering.html(found)


def test_the_judge_s_power() -> None:
    """Caught, got away after as many seeds as a bug may take, and given up before: three different things."""
    hunts = [
        Hunt(bug="a", what="", transport="cursor", start=1, seeds=4, seeds_max=4, by=("lost-tail",)),
        Hunt(bug="a", what="", transport="cursor", start=2, seeds=8, seeds_max=8, by=("lost-early",)),
        Hunt(bug="b", what="", transport="cursor", start=1, seeds=0, seeds_max=300),
        Hunt(bug="c", what="", transport="cursor", start=1, seeds=0, seeds_max=17),
    ]
    found = review(hunts=hunts)
    by_bug = {one.bug: one for one in found.power}
    assert (by_bug["a"].caught, by_bug["a"].seeds and by_bug["a"].seeds.median) == (2, 6.0)
    assert by_bug["a"].by == ["lost-early", "lost-tail"]
    assert (by_bug["b"].caught, by_bug["b"].unfinished) == (0, 0)
    assert by_bug["c"].unfinished == 1
    assert any(line.startswith("The judge found 1 of 2 bugs planted") for line in found.answer.sure)
    assert any("A bug like b, which the judge did not find" in line for line in found.answer.changes)
