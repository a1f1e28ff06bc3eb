"""`meshrelay report`: what is measured within a budget, what is kept, and what the command answers."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import meshrelay
from faults.planted import PLANTED
from faults.transports import TransportName
from reports.api import ALL_PROMISES
from reports.review.assemble import review_of
from reports.review.document import Review, decode
from reports.review.evidence import Hunt, Origin, Provenance, Window
from sim.hunt import STARTS
from sim.marks import marks_over
from sim.options.evidence import Counterexample, Simulated
from sim.options.parts import ORIGINS, Parts
from sim.review.gather import DIFFERENCES, deliberate, evidence_of
from sim.review.measure import Measurement, Request
from sim.review.origin import digest_of
from sim.review.parts import HUNTS, RUN, WINDOW, Evidences
from sim.review.queue import Queue
from tests.reports.review.test_claims import RUN as GOOD_RUN
from tests.reports.review.test_claims import WINDOW as GOOD_WINDOW

KEPT_RUN = msgspec.structs.replace(GOOD_RUN, started_at="2025-06-01T00:00:00+00:00", commit="old")
GUARANTEES = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")


def report(*words: str) -> Result:
    """The command, as it is mounted."""
    return CliRunner().invoke(meshrelay.command(["report"]), ["report", *words])


def simulated(trials: int, **more: Any) -> Simulated:
    """So many seeds over option C, of which all held but for this."""
    tried = dict.fromkeys(GUARANTEES, trials)
    return Simulated(transport="cursor", seeds=f"0..{trials - 1}", trials=trials, held=trials, tried=tried, **more)


def folder(place: Path, run: Provenance, window: Window | None, seeds: Simulated | None) -> Path:
    """Evidence as a run leaves it."""
    parts = Parts(place, run)
    parts.keep(RUN, run)
    if window is not None:
        parts.keep(WINDOW, window)
    if seeds is not None:
        parts.keep("simulated-cursor.json", seeds)
    return place


def both(tmp_path: Path, run: tuple[Window | None, Simulated | None], kept: tuple[Window, Simulated]) -> Evidences:
    """A run's evidence with another behind it."""
    return Evidences(Parts(folder(tmp_path / "run", GOOD_RUN, *run)), Parts(folder(tmp_path / "kept", KEPT_RUN, *kept)))


def test_what_a_run_had_no_time_for_is_taken_from_longer_ones_and_marked(tmp_path: Path) -> None:
    """More days, more seeds: each with its commit and day."""
    short = msgspec.structs.replace(GOOD_WINDOW, days=3.0)
    found = evidence_of(both(tmp_path, (short, simulated(20)), (GOOD_WINDOW, simulated(2_000))))
    assert found.window == GOOD_WINDOW
    assert {cell.seeds for cell in found.options.cells} == {2_000}
    kept = Origin(started_at=KEPT_RUN.started_at, commit="old", relay="", is_same=False)
    assert found.origins == {"simulated-cursor": kept, "window": kept}
    assert found.provenance == GOOD_RUN


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ("a", "a", "1 part of the evidence, all of the relay of this checkout."),
        ("a", "b", "1 part of the evidence, none of the relay of this checkout, but of 1 other version of it"),
    ],
)
def test_evidence_of_another_relay_is_said_to_be_so(tmp_path: Path, then: str, now: str, said: str) -> None:
    """On the first screen, for it says little of the relay as it is."""
    kept = folder(tmp_path / "kept", msgspec.structs.replace(KEPT_RUN, relay=then), GOOD_WINDOW, None)
    evidence = evidence_of(Evidences(Parts(folder(tmp_path / "run", GOOD_RUN, None, None)), Parts(kept), relay=now))
    found = review_of(evidence, ALL_PROMISES, {})
    assert any(line.startswith(f"Kept from earlier runs: {said}") for line in found.answer.sure)
    kept_parts = [(one.relay, one.is_same, one.parts, one.days, one.commits) for one in found.kept]
    assert kept_parts == [(then, then == now, ["window"], ["2025-06-01"], ["old"])]


def test_a_digest_is_of_names_and_contents_alone(tmp_path: Path) -> None:
    """A changed, renamed or added source is another relay; what is no source is not looked at."""
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    first = digest_of(tmp_path)
    (tmp_path / "notes.txt").write_text("any")
    assert digest_of(tmp_path) == first
    source.write_text("x = 2\n")
    changed = digest_of(tmp_path)
    source.rename(tmp_path / "b.py")
    renamed = digest_of(tmp_path)
    (tmp_path / "c.sql").write_text("SELECT 1")
    assert len({first, changed, renamed, digest_of(tmp_path)}) == 4


def test_what_a_run_found_broken_is_never_covered_up(tmp_path: Path) -> None:
    """However much longer the kept run was in which it held."""
    broken = simulated(20, violated={"G1": 1}, first={"G1": Counterexample(seed=7, reason="lost")})
    lost = msgspec.structs.replace(GOOD_WINDOW, days=3.0, verdict="violated", lost=1)
    found = evidence_of(both(tmp_path, (lost, broken), (GOOD_WINDOW, simulated(2_000))))
    assert found.window == lost
    assert [cell.verdict for cell in found.options.cells if cell.guarantee == "G1"] == ["violated"]
    assert found.origins == {}


def test_the_longer_run_of_two_is_taken(tmp_path: Path) -> None:
    """Also where it is this one."""
    found = evidence_of(both(tmp_path, (GOOD_WINDOW, simulated(50)), (GOOD_WINDOW, simulated(20))))
    assert {cell.seeds for cell in found.options.cells} == {50}
    assert found.origins == {}


@pytest.mark.parametrize(("seeds_max", "taken"), [(300, "the run's"), (12, "the kept")])
def test_a_hunt_that_was_given_up_is_no_bug_that_got_away(tmp_path: Path, seeds_max: int, taken: str) -> None:
    """Only after all the seeds that a bug may take has it got away, which nothing covers up."""
    hunt = Hunt(bug="a", what="", transport="cursor", start=1, seeds=0, seeds_max=seeds_max)
    run, kept = Parts(tmp_path / "run", GOOD_RUN), Parts(tmp_path / "kept", KEPT_RUN)
    run.keep(HUNTS, [hunt])
    kept.keep(HUNTS, [msgspec.structs.replace(hunt, seeds=3, start=start) for start in (1, 2)])
    assert len(Evidences(run, kept).hunts()) == {"the run's": 1, "the kept": 2}[taken]


def test_kept_evidence_alone_makes_a_report(tmp_path: Path) -> None:
    """In a second, with the run's files; the same evidence gives the same bytes."""
    kept = folder(tmp_path / "kept", KEPT_RUN, GOOD_WINDOW, simulated(2_000))
    files: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        result = report("--minutes", "0", "--kept", str(kept), "--out", str(tmp_path / name))
        assert result.exit_code == 0, result.output
        assert "Yes: C: cursor kept all of G1 to G8" in result.output
        assert "0 of 2,000 seeds broke it, limit 0.15 %" in result.output
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {"report.html", "report.md", "report.json", "junit.xml"}


def test_a_claim_that_got_worse_ends_a_pipeline(tmp_path: Path) -> None:
    """With --against, an older report.json: exit code 1, and which claim."""
    good = folder(tmp_path / "good", KEPT_RUN, GOOD_WINDOW, simulated(2_000))
    bad = folder(tmp_path / "bad", KEPT_RUN, msgspec.structs.replace(GOOD_WINDOW, days=2.0), simulated(2_000))
    old = tmp_path / "out" / "report.json"
    assert report("--minutes", "0", "--kept", str(good), "--out", str(old.parent)).exit_code == 0
    words = ["--minutes", "0", "--kept", str(bad), "--out", str(tmp_path / "new"), "--against", str(old)]
    result = report(*words)
    assert result.exit_code == 1, result.output
    assert "worse claim: 0 lost events: confirmed -> not shown: Only 2 of 21 days" in " ".join(result.output.split())
    assert report(*words[:-1], str(tmp_path / "new" / "report.json")).exit_code == 0


def test_what_can_not_be_asked_is_refused_in_words(tmp_path: Path) -> None:
    """A bug that there is not, a folder without evidence, an older report that is none."""
    result = report("--plant", "nothing-known")
    assert result.exit_code == 2
    assert "--plant: expected one of ack-before-commit" in result.output
    empty = ["--minutes", "0", "--kept", str(tmp_path), "--out", str(tmp_path / "out")]
    result = report(*empty)
    assert result.exit_code == 2
    assert "expected a run's evidence, got none" in result.output
    (tmp_path / "old.json").write_text("{}")
    result = report(*empty, "--against", str(tmp_path / "old.json"))
    assert result.exit_code == 2
    assert "old.json: expected an older report.json: " in result.output
    folder(tmp_path / "out" / "evidence", GOOD_RUN, None, None)
    (tmp_path / "out" / "evidence" / WINDOW).write_text('{"days": "many"}')
    result = report(*empty)
    assert result.exit_code == 2
    assert "window.json: expected a part of a comparison" in result.output


class Refusing(Executor):
    """Workers that are not to be asked."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError(f"expected to be asked for nothing, got {fn}{args}")


def test_what_there_is_no_time_for_is_named_and_not_begun(tmp_path: Path) -> None:
    """Everything that an hour would have measured, when the time is over."""
    parts = Parts(tmp_path)
    request = Request(minutes=60.0, jobs=2, seed=7, out=tmp_path, bug=None)
    measurement = Measurement(request, parts, tmp_path, Console(), began_s=time.monotonic() - 3_600.0)
    named = Counter(measurement.others(Queue(Refusing(), parts)))
    hunted = sum(TransportName.CURSOR in one.over for one in PLANTED.values())
    assert named["reconnect gaps"] == len(TransportName)
    assert named["hunts for planted bugs"] == hunted * len(STARTS)
    assert named["outages"] > 3 * 2 * 9
    with pytest.raises(AssertionError, match="expected to be asked for nothing"):
        next(Measurement(request, parts, tmp_path, Console()).others(Queue(Refusing(), parts)))


@pytest.mark.report
def test_a_short_report_measures_everything_that_is_simulated(tmp_path: Path) -> None:
    """A few seconds of it: the window's first hours, seeds over all options, an absence; what is left out is named."""
    result = report("--minutes", "0.05", "--kept", str(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    found: Review = decode((tmp_path / "out" / "report.json").read_bytes())
    assert found.window is not None
    assert (found.window.verdict, found.window.days, found.window.lost) == ("held", 0.2, 0)
    assert found.window.acknowledged == found.window.events > 0
    tried = {one.transport: one.simulated.trials for one in found.promises if one.guarantee == "G1"}
    assert set(tried) == {one.value for one in TransportName}
    assert min(tried.values()) > 0
    assert found.marks[0].meaning == marks_over(TransportName.CURSOR)
    assert found.gaps
    assert any(line.endswith("hunts for planted bugs, for want of time") for line in found.missing)
    assert "runs on the real stack" in found.missing
    assert (tmp_path / "out" / "evidence" / ORIGINS).exists()


@pytest.mark.report
def test_a_planted_bug_turns_the_report_red(tmp_path: Path) -> None:
    """Verdict violated, the claim refuted, exit code 1, and a command that shows it again."""
    bug = "sweeper-without-floors"
    result = report("--minutes", "0.05", "--plant", bug, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1, result.output
    found = decode((tmp_path / "out" / "report.json").read_bytes())
    assert found.verdict == "violated"
    assert found.provenance.bug == bug
    refuted = next(one for one in found.claims if one.name == "retention")
    assert refuted.status == "refuted"
    again = [*shlex.split(refuted.command), "--quick"]
    assert again[:2] == ["meshrelay", "sim"]
    assert CliRunner().invoke(meshrelay.command(again[1:]), again[1:]).exit_code == 1


def test_what_is_left_out_on_purpose_is_read_from_the_list_of_differences() -> None:
    """Every server's table, whole: a row that is read wrong would have no reason."""
    found = list(deliberate(DIFFERENCES.read_text(encoding="utf-8")))
    assert {one.server for one in found} == {"NATS", "PostgreSQL", "Redis", "The world"}
    assert all(one.what and one.model and one.real and one.why for one in found)
    assert any(one.what == "processor time" for one in found)
