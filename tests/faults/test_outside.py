"""Runs on a stack that others started: played with proof, and left as it was found, whatever happens."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from faults.plan import Plan, Retention
from faults.vocabulary import Cut, DiskFull, Down, Fault, Kill, Latency, Link, Pause, ProcessName, Restart
from reports import history
from reports.history import read_history
from reports.parts import LEADING, PARTS_FOLDER
from tests.faults.outside_stage import OutsideStage, outside_stage
from tests.faults.test_chaos import AGENTS, small_run

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

FAULTS: tuple[Fault, ...] = (
    Latency(id="slow-nats", link=Link.RELAY_NATS, at_s=0.5, for_s=1.5, latency_ms=60),
    Cut(id="cut-postgres", link=Link.RELAY_POSTGRES, at_s=0.5, for_s=2.0, only="relay-1"),
    Down(id="no-relay", link=Link.AGENT_RELAY, at_s=1.0, for_s=1.5),
    Kill(id="kill", process=ProcessName.RELAY, at_s=3.0, down_s=0.5, only="relay-1"),
    Pause(id="agent", process=ProcessName.AGENT, at_s=3.0, for_s=1.0, only="slow"),
    Pause(id="pause", process=ProcessName.RELAY, at_s=6.0, for_s=2.0, only="relay-2"),
    Restart(id="restart", process=ProcessName.NATS, at_s=6.0),
    Kill(id="kill-postgres", process=ProcessName.POSTGRES, at_s=9.0, down_s=0.3),
    DiskFull(id="full", process=ProcessName.NATS, at_s=9.0, for_s=1.0),
)
GONE_S = 30.0


def quiet(**changes: Any) -> Plan:
    """Two seconds and few events, without faults."""
    workload = msgspec.structs.replace(small_run().workload, events=30, pinned=())
    return small_run(**{"faults": (), "agents": AGENTS[:2], "workload": workload, "duration_s": 2.0, **changes})


async def until(is_so: Callable[[], bool], within_s: float) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - it is seen in files and in the system's tables
            await asyncio.sleep(0.05)


async def test_a_run_on_a_stack_of_others() -> None:
    """Every fault that commands and proxies allow has its proof, all is delivered, and the stack is as it was found."""
    plan = small_run(faults=FAULTS, duration_s=11.0)
    async with outside_stage(plan) as stage:
        pids = {name: one.pid for name, one in stage.processes.items()}
        ended = await stage.run(plan)
        assert ended.code == 0, ended.errors + ended.out
        assert ended.outcome["verdict"] == "held"
        assert ended.outcome["acked"] == ended.outcome["events"] == 401
        (left_out,) = ended.outcome["not_played"]
        assert (left_out["fault"], left_out["why"]) == ("full", "no disk of a stack that others started can be filled")
        assert f"not played: full (disk_full): {left_out['why']}" in ended.errors
        assert "--stack external --stack-file stack.toml" in ended.errors
        assert await stage.ill() == []
        assert stage.remains() == []
        same = {name for name, one in stage.processes.items() if one.pid == pids[name]}
        assert same == {"relay-2"}, "it was paused; the others were ended and started"
        records = read_history(stage.folder / "run" / "history.jsonl").records
        assert {path.name for path in (stage.folder / "run" / "logs").iterdir()} == {"agents.log"}
    _check_proofs([one for one in records if isinstance(one, history.Fault)])
    (run,) = [one for one in records if isinstance(one, history.Run)]
    assert {"nats-server", "postgres"} <= set(run.versions)
    steered = [(one.name, one.what) for one in records if isinstance(one, history.Process) and one.name in pids]
    assert steered == [
        ("relay-1", "killed"),
        ("relay-1", "started"),
        ("nats", "stopped"),
        ("nats", "started"),
        ("postgres", "killed"),
        ("postgres", "started"),
    ]


def _check_proofs(faults: list[history.Fault]) -> None:
    for fault in FAULTS[:-1]:
        life = [one.phase for one in faults if one.fault == fault.id]
        assert life == ["asked", "effective", "lifted"], (fault.id, life)
    proof = {one.fault: one.proof for one in faults if one.phase == "effective"}
    assert proof["kill"] == {"process": "relay-1", "before": "running", "status": "gone"}
    assert proof["restart"] == {"process": "nats", "before": "running", "status": "gone"}
    assert proof["pause"] == {"process": "relay-2", "before": "running", "status": "stopped"}
    assert proof["agent"]["pid"] > 0
    lifted = {one.fault: one.proof for one in faults if one.phase == "lifted"}
    assert "connections" not in lifted["slow-nats"]["relay-1"]["traffic"], "the relays' connections are out of sight"
    # each draws its own replica
    assert sum(one["traffic"]["connections"] for one in lifted["no-relay"].values()) > 0, "the agents' are not"


@pytest.mark.parametrize(("order", "fault"), [("kill relay-1", FAULTS[3]), ("pause relay-2", FAULTS[5])])
async def test_a_command_that_does_nothing_is_no_fault(order: str, fault: Any) -> None:
    """A command that succeeds without effect leaves no proof, and the run fails for it; the stack is as it was."""
    plan = quiet(faults=(msgspec.structs.replace(fault, at_s=0.2),), duration_s=4.0)
    async with outside_stage(plan) as stage:
        stage.deaf = {order, "start relay-1"}
        ended = await stage.run(plan)
        records = read_history(stage.folder / "run" / "history.jsonl").records
        life = [one.phase for one in records if isinstance(one, history.Fault)]
        assert life == ["asked", "ineffective", "lifted"]
        assert order in stage.said
        assert (ended.code, ended.outcome["verdict"]) != (0, "held")
        assert fault.id in ended.outcome["reason"]
        assert await stage.ill() == []
        assert stage.remains() == []


async def test_a_relay_that_ends_by_itself_is_started_once_and_told() -> None:
    """A relay that no fault ended is found gone, started by its command, given time to come up, and counted once."""
    plan = quiet(duration_s=8.0)
    async with outside_stage(plan) as stage:
        process = await stage.begin(plan)
        leading = stage.folder / "run" / PARTS_FOLDER / LEADING
        try:
            await until(lambda: leading.exists() and b'"safety"' in leading.read_bytes(), 60.0)
            await asyncio.sleep(1.0)
            await stage.relays["relay-1"].kill()
            out, _ = await asyncio.wait_for(process.communicate(), 60.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert json.loads(out)["reason"].startswith("the relay ended by itself")
        assert "times" not in json.loads(out)["reason"]
        assert stage.said == ["start relay-1"]
        assert await stage.ill() == []
        assert stage.remains() == []


async def test_a_command_that_fails_ends_the_run() -> None:
    """A command that says that it failed is told with its own words; what was begun is mended."""
    plan = quiet(faults=(msgspec.structs.replace(FAULTS[3], at_s=0.2),), duration_s=4.0)
    async with outside_stage(plan) as stage:
        stage.document["processes"]["relay-1"]["kill"] = stage.say("kill", "relay-9")
        ended = await stage.run(plan)
        assert ended.code == 4
        assert "KeyError('relay-9')" in ended.outcome["reasons"][0]
        assert await stage.ill() == []
        assert stage.remains() == []


INTERRUPTED: tuple[Fault, ...] = (
    Cut(id="cut", link=Link.PUBLISHER_NATS, at_s=0.5, for_s=90.0),
    Down(id="down", link=Link.AGENT_RELAY, at_s=0.5, for_s=90.0, only="relay-1"),
    Pause(id="pause", process=ProcessName.RELAY, at_s=0.5, for_s=90.0, only="relay-2"),
    Kill(id="kill", process=ProcessName.POSTGRES, at_s=0.5, down_s=90.0),
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda it: it.name)
async def test_an_interrupted_run_leaves_the_stack_as_it_was_found(number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGKILL under a cut, a proxy down, a frozen relay, a dead server: all is mended."""
    plan = quiet(faults=INTERRUPTED, duration_s=100.0)
    async with outside_stage(plan) as stage:
        process = await stage.begin(plan)
        leading = stage.folder / "run" / PARTS_FOLDER / LEADING

        def proved() -> bool:
            return leading.exists() and leading.read_bytes().count(b'"phase":"effective"') == len(INTERRUPTED)

        try:
            await until(proved, 60.0)
            ill = sorted(one.split()[0] for one in await stage.ill())
            assert ill == ["postgres", "publisher-nats:", "relay-1.agent-relay:", "relay-2"]
            process.send_signal(number)
            await asyncio.wait_for(process.wait(), 60.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await until(lambda: stage.remains() == [], GONE_S)
        assert await stage.ill() == []
        assert {"start postgres", "resume relay-2"} <= set(stage.said)


async def test_up_gets_the_plans_settings_and_down_is_last() -> None:
    """With a settings file the relays run as the plan says; at the end the stack is down and the file gone."""
    plan = quiet(retention=Retention(critical_s=33.0, standard_s=22.0))
    async with outside_stage(plan, is_up=False) as stage:
        settings = stage.folder / "of the plan.env"
        del stage.document["retention"]
        stage.document |= {"settings_file": settings.name, "logs": stage.say("logs", "nats")}
        stage.document |= {"up": stage.say("up", str(settings)), "down": stage.say("down")}
        stage.deaf = {"logs nats"}
        for relay in stage.relays.values():
            relay.set(RETENTION_CRITICAL_S="5000", RETENTION_STANDARD_S="4000")
        ended = await stage.run(plan)
        assert ended.code in (0, 3), ended.errors + ended.out  # so short a run may put nothing to the test
        assert stage.said == [f"up {settings}", "logs nats", "down"]
        assert {one.spec.env["MESHRELAY_RETENTION_CRITICAL_S"] for one in stage.relays.values()} == {"33.0"}
        assert not settings.exists()
        assert stage.remains() == []
        settings.write_text("MESHRELAY_LEASE_S=7\n")
        (stage.folder / "run").rename(stage.folder / "earlier")
        ended = await stage.run(plan)
        assert ended.code == 4
        assert "settings_file: expected a file of an earlier run or none" in ended.outcome["reasons"][0]
        assert settings.read_text() == "MESHRELAY_LEASE_S=7\n"
        assert stage.said[3:] == []


async def test_a_stack_that_is_not_as_it_should_be_is_refused() -> None:
    """Another retention, proxies that are missing, down or ill, events of an earlier run: each is told, not mended."""
    plan = quiet()
    async with outside_stage(plan) as stage:
        other = msgspec.structs.replace(plan, retention=Retention(critical_s=61.0, standard_s=40.0))
        ended = await stage.run(other)
        assert ended.code == 4
        assert "retention: expected Retention(critical_s=60.0, standard_s=40.0), with which the relays run" in ended.out
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            await http.post(f"{stage.api}/proxies/publisher-nats", json={"enabled": False})
            toxic = {"type": "latency", "attributes": {"latency": 1}, "name": "foreign"}
            await http.post(f"{stage.api}/proxies/relay-1.relay-nats/toxics", json=toxic)
            lost = (await http.get(f"{stage.api}/proxies/relay-2.relay-nats")).json()
            await http.delete(f"{stage.api}/proxies/relay-2.relay-nats")
            ended = await again(stage, plan)
            assert ended.code == 4
            for told in (
                "expected proxy publisher-nats enabled and without toxics, got disabled",
                "expected proxy relay-1.relay-nats enabled and without toxics, got toxics foreign",
                "expected a proxy relay-2.relay-nats in Toxiproxy",
            ):
                assert told in ended.outcome["reasons"][0]
            assert len(await stage.ill()) == 2, "what was found ill is not the run's to heal"
            await http.post(f"{stage.api}/proxies", json={name: lost[name] for name in ("name", "listen", "upstream")})
            await http.post(f"{stage.api}/reset")
        assert (await again(stage, plan)).code in (0, 3)
        ended = await again(stage, plan)
        assert ended.code == 4
        assert "expected a stack without events, got " in ended.outcome["reasons"][0]
        assert await stage.ill() == []
        assert stage.remains() == []
        assert stage.said == []


async def again(stage: OutsideStage, plan: Plan) -> Any:
    """One more run in a folder that holds none."""
    folder = stage.folder / "run"
    if folder.exists():
        folder.rename(stage.folder / f"run-{len(list(stage.folder.iterdir()))}")
    return await stage.run(plan)
