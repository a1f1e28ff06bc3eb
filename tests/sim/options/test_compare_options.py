"""`meshrelay compare`: parts are kept and gone on with, what is missing is named, and the page says what was found."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from faults.campaign_cli import Campaign
from meshrelay import command
from reports.api import ALL_PROMISES
from reports.campaign import CampaignReport, campaign_of
from reports.options import OptionsReport, Sample
from reports.render.options import html
from sim.options.evidence import Simulated
from sim.options.gathered import gather
from sim.options.parts import PartInvalid, Parts, ReplaySample

RUNS = 3


def compare(*words: str) -> tuple[int, str]:
    """The exit code and what was said."""
    found = CliRunner().invoke(command(["compare"]), ["compare", *words])
    return found.exit_code, found.output


def kept(folder: Path) -> Parts:
    """Parts of all three options; option A costs less from 100 agents on."""
    parts = Parts(folder)
    for transport in ("cursor", "jetstream", "redis"):
        simulated = Simulated(transport=transport, seeds="0..9", trials=10, held=10, tried={"G1": 10})
        parts.keep(f"simulated-{transport}.json", simulated)
    costs = {"cursor": 10.0, "redis": 20.0}
    parts.keep(
        "scale.json",
        [
            Sample(
                transport=transport,
                agents=agents,
                run=run,
                values={"cpu_ms": costs.get(transport, 400.0 / agents) + run / 100, "cpu_ms.relay": 1.0},
            )
            for transport in ("cursor", "jetstream", "redis")
            for agents in (10, 100)
            for run in range(RUNS)
        ],
    )
    parts.keep("replays.json", [ReplaySample(transport="cursor", gap=100, run=1, replay_s=0.5)])
    return parts


def test_the_report_follows_from_the_parts(tmp_path: Path) -> None:
    """The crossing, the threshold and the cells; what is not there is named."""
    report = gather(kept(tmp_path), started_at="2026-01-31T08:00:00+00:00", machine={}, runs=RUNS)
    assert report.answer[0].startswith("'50+' fits the figures: A: JetStream consumers becomes cheaper")
    assert {cell.verdict for cell in report.cells if cell.guarantee == "G1"} == {"held"}
    assert "chaos on the real stack over redis" in report.missing
    assert not any("simulated" in one for one in report.missing)
    assert msgspec.json.decode(msgspec.json.encode(report), type=OptionsReport) == report


def test_fewer_runs_than_asked_for_are_told(tmp_path: Path) -> None:
    """A spread of less than was wanted is no spread."""
    report = gather(kept(tmp_path), started_at="", machine={}, runs=RUNS + 1)
    assert "1 of 4 runs of cursor with 10 agents" in report.missing


def test_equal_parts_give_an_equal_page_that_loads_nothing(tmp_path: Path) -> None:
    """Byte by byte, with a picture for each cost, and no address in it that a browser would ask."""
    one, other = (
        html(gather(kept(tmp_path / name), started_at="then", machine={}, runs=RUNS), ALL_PROMISES)
        for name in ("one", "other")
    )
    assert one == other
    assert one.count("<svg") == 2
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', one)


def test_the_command_writes_page_text_and_document(tmp_path: Path) -> None:
    """From the parts alone, if nothing is to be measured."""
    kept(tmp_path)
    code, said = compare("--only", "report", "--runs", str(RUNS), "--out", str(tmp_path))
    assert code == 0, said
    report = msgspec.json.decode((tmp_path / "compare.json").read_bytes(), type=OptionsReport)
    assert report.answer[0] in said
    assert report.answer[0] in (tmp_path / "compare.md").read_text()
    assert report.answer[0] in unescape((tmp_path / "index.html").read_text())


def test_a_part_that_is_there_is_not_measured_anew(tmp_path: Path) -> None:
    """Hours are not thrown away: the same command goes on where it was."""
    kept(tmp_path)
    before = (tmp_path / "simulated-cursor.json").read_bytes()
    code, said = compare("--only", "simulated", "--seeds", "0..0", "--out", str(tmp_path))
    assert code == 0, said
    assert "cursor: simulated already" in said
    assert (tmp_path / "simulated-cursor.json").read_bytes() == before


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_interrupted_chaos_campaign_is_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """What was played of it stays to look at, but is not taken for the ten minutes that were asked for."""

    def run(self: Campaign, seeds: range, minutes: float) -> CampaignReport:
        wall_s = minutes * 60 + 1 if is_whole else 1.0
        return campaign_of([], started_at="", wall_s=wall_s, versions={}, is_whole=is_whole)

    monkeypatch.setattr(Campaign, "run", run)
    code, said = compare("--only", "chaos", "--transport", "cursor", "--out", str(tmp_path))
    assert (code, Parts(tmp_path).chaos("cursor") is not None) == ((0, True) if is_whole else (4, False)), said


def test_a_torn_part_is_refused_by_name(tmp_path: Path) -> None:
    """What can't be read is not silently measured anew."""
    (tmp_path / "scale.json").write_text('[{"transport": "cur')
    with pytest.raises(PartInvalid, match=r"scale\.json: expected a part"):
        Parts(tmp_path).samples()
    code, said = compare("--only", "report", "--out", str(tmp_path))
    assert code == 2
    assert "remove it to measure anew" in said


@pytest.mark.parametrize("sizes", ["", "0", "10,x", "-1", "30000"])
def test_sizes_that_are_none_are_refused(sizes: str) -> None:
    """Before anything is measured."""
    code, said = compare("--only", "report", "--sizes", sizes)
    assert code == 2
    assert "expected numbers of agents" in said
