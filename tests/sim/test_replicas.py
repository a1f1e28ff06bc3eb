"""NATS on three servers: what clients hear while nobody leads or too few are there, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client

from faults.plan import Plan, PlanInvalid, Servers
from faults.vocabulary import Fault, Kill, LeaderChange, PowerLoss, ProcessName, QuorumLoss
from sim.host import Process
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from sim.trial import simulate
from tests.sim.jetstream.stage import Stage
from tests.sim.test_world import plan_with
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.sim

NATS: dict[str, Any] = {"process": ProcessName.NATS}
Story = Callable[[NatsServer, "Reached"], Awaitable[None]]


class Reached:
    """Clients of the servers, each connected anew when its server is gone, and what they saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.closed = 0

    async def stage(self) -> Stage:
        """A stage on a connection of its own, with the stream of the story."""

        async def closed() -> None:
            self.closed += 1

        async def errored(_: Exception) -> None:
            """A cut connection is counted by `closed`."""

        client: Client = await nats.connect("nats://b:4222", allow_reconnect=False, closed_cb=closed, error_cb=errored)
        stage = Stage(client, "story")
        stage.seen = self.seen
        return stage

    async def publish(self, at: Stage, message_id: str) -> str:
        """One try, and what came of it."""
        try:
            ack = await at.js.publish(at.subject, b"x", timeout=1.0, headers={"Nats-Msg-Id": message_id})
        except nats.js.errors.APIError as error:
            return f"{error.code}/{error.err_code}"
        except (nats.errors.Error, TimeoutError) as error:
            return type(error).__name__
        return f"{ack.seq}{' duplicate' if ack.duplicate else ''}"


def played(story: Story, *, seed: int = 1) -> Reached:
    """Play a story with three simulated servers."""
    world, reached = SmallWorld(seed), Reached()
    servers: list[NatsServer] = []

    async def serve(process: Process) -> None:
        server = NatsServer(
            name="nats",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(f"servers/{seed}"),
            disk=NatsDisk(),
            replicas=3,
        )
        servers.append(server)
        await process.loop.create_server(server.protocol, "0.0.0.0", 4222)
        server.start()

    async def act(_: Process) -> None:
        await story(servers[0], reached)

    world.start(world.b, serve)
    world.run(0.1)
    world.start(world.a, act)
    world.run(60.0)
    assert world.problems == []
    if isinstance(world.results.get("a"), Exception):
        raise world.results["a"]
    assert "a" in world.results, "the story did not end"
    return reached


async def server_has_it(server: NatsServer) -> None:
    """Wait until a message is in the leader's hands, and not stored."""
    for _ in range(10_000):
        if server._unstored:
            return
        await asyncio.sleep(0.000_01)
    raise AssertionError("expected a message that is taken and not stored")


async def opened(reached: Reached) -> Stage:
    """A stream on three servers, with a consumer."""
    at = await reached.stage()
    await at.make_stream(num_replicas=3)
    await at.make_consumer(ack_wait=2.0)
    return at


def test_the_end_of_a_request_overtakes_its_messages() -> None:
    """Three servers agree on a delivery before it is sent, not on a 409; what will not wait ends in a 408 behind it.

    As three real servers of 2.15.1 were seen to do.
    """

    async def story(_: NatsServer, reached: Reached) -> None:
        at = await opened(reached)
        await at.fill(5)
        await at.hear(0.1, batch=9, expires=50_000_000, max_bytes=120)
        await at.hear(0.1, batch=1, expires=50_000_000, max_bytes=12_000)
        await at.hear(0.1, batch=9, no_wait=True)
        await at.hear(0.1, batch=9, no_wait=True)

    seen = [one[1]["Status"] if one[0] == "status" else one[1] for one in played(story).seen]
    assert seen == ["409", b"0", b"1", "409", b"2", b"3", b"4", "408", "404"]


def test_without_a_leader_a_publish_finds_nobody() -> None:
    """It is refused at once with 503; afterwards the same id is stored once, and known."""

    async def story(server: NatsServer, reached: Reached) -> None:
        at = await opened(reached)
        assert await reached.publish(at, "a") == "1"
        server.cluster.lose_leader()
        at = await reached.stage()
        assert await reached.publish(at, "b") == "NoStreamResponseError"
        await at.state()  # who is left still tells the stream's state
        await at.ask(f"CONSUMER.INFO.{at.stream}.c")
        await at.hear(0.1, batch=1, expires=50_000_000)
        server.cluster.elect()
        assert await reached.publish(at, "b") == "2"
        assert await reached.publish(at, "b") == "2 duplicate"
        assert await reached.publish(at, "a") == "1 duplicate"

    state, info, pull = played(story).seen
    assert state == ("stream", 1, 70, 1, 1, 1)
    assert info[0]["error"] == {
        "code": 503,
        "err_code": 10008,
        "description": "JetStream system temporarily unavailable",
    }
    assert pull[0] == "status"
    assert pull[1]["Status"] == "503"


def test_a_leader_change_ends_what_waits_and_loses_pub_acks() -> None:
    """Requests end in 409 where their server steps down; what was in hand is stored late, or never, unanswered."""
    fates = set()
    for seed in range(8):

        async def story(server: NatsServer, reached: Reached) -> None:
            at, other = await opened(reached), await reached.stage()
            hearing = asyncio.ensure_future(other.hear(1.0, batch=5, expires=5_000_000_000))
            await asyncio.sleep(0.1)
            trying = asyncio.ensure_future(reached.publish(at, "a"))
            await server_has_it(server)
            server.cluster.lose_leader()
            await asyncio.sleep(0.3)
            server.cluster.elect()
            assert await trying in ("TimeoutError", "ConnectionClosedError")
            await hearing
            third = await reached.stage()
            reached.seen.append(await reached.publish(third, "a"))

        reached = played(story, seed=seed)
        *statuses, fate = reached.seen
        assert [one[1]["Header.DESCRIPTION"] for one in statuses] == ["Leadership Change"] * len(statuses)
        fates.add(fate)
    assert fates == {"1", "1 duplicate"}, "in some worlds the unanswered message was stored, in some it was not"


def test_a_new_leader_of_a_consumer_knows_what_was_answered() -> None:
    """Three servers agree on a delivery and on an ack before anybody is told: none is forgotten with the leader.

    As three real servers of 2.15.1 were seen to do (tests/sim/jetstream/threes.py).
    """

    async def story(server: NatsServer, reached: Reached) -> None:
        at = await opened(reached)
        await at.fill(3)
        first = await at.hear(0.3, batch=3, expires=100_000_000)
        for one in first[:2]:
            await one.ack_sync()
        server.cluster.lose_leader()
        server.cluster.elect()
        await asyncio.sleep(2.5)
        reached.seen.clear()
        at = await reached.stage()
        await at.consumer()
        await at.hear(0.2, batch=3, expires=100_000_000)

    seen = played(story).seen
    assert ("floor", 2, 2) in seen
    assert [one[2][2:4] for one in seen if one[0] == "message"] == [["2", "3"]]


def test_without_a_quorum_a_publish_hangs_and_is_stored_later() -> None:
    """It is not answered, and a retry is refused as in process; some time after the heal both are stored and known."""

    async def story(server: NatsServer, reached: Reached) -> None:
        at = await opened(reached)
        server.cluster.lose_quorum()
        at = await reached.stage()
        assert await reached.publish(at, "a") == "TimeoutError"
        assert await reached.publish(at, "a") == "409/10158"
        await at.state()
        await at.ask(f"CONSUMER.INFO.{at.stream}.c")
        await at.hear(0.1, batch=1, expires=50_000_000)
        server.cluster.regain_quorum()
        assert await reached.publish(at, "a") == "409/10158", "the others need a moment"
        assert await reached.publish(at, "b") == "TimeoutError"
        await asyncio.sleep(2.5)
        assert await reached.publish(at, "a") == "1 duplicate"
        assert await reached.publish(at, "b") == "2 duplicate"
        await at.hear(0.3, batch=2, expires=200_000_000)

    state, info, pull, *messages = played(story).seen
    assert state[1:] == (0, 0, 0, 0, 1)
    assert info[0]["error"]["err_code"] == 10008
    assert pull[1]["Status"] == "503"
    assert [one[2][2:4] for one in messages] == [["1", "1"], ["1", "2"]]


@pytest.mark.parametrize(("what", "cut_off"), [("lose_leader", 1), ("lose_quorum", 2)])
def test_clients_of_a_server_that_is_gone_are_cut_off(what: str, cut_off: int) -> None:
    """A third of the clients goes with one server, two thirds with two; all are taken in again at once."""

    async def story(server: NatsServer, reached: Reached) -> None:
        for _ in range(3):
            await reached.stage()
        getattr(server.cluster, what)()
        await asyncio.sleep(0.1)
        reached.seen.append(reached.closed)
        await reached.stage()

    assert played(story).seen == [cut_off]


FAULTS: dict[str, tuple[Fault, ...]] = {
    "leader": (LeaderChange(id="f", at_s=5.0, down_s=4.0, **NATS),),
    "leaders": tuple(LeaderChange(id=f"f{at}", at_s=float(at), down_s=0.5, **NATS) for at in range(3, 15, 2)),
    "quorum": (QuorumLoss(id="f", at_s=5.0, for_s=6.0, **NATS),),
    "both": (QuorumLoss(id="q", at_s=4.0, for_s=3.0, **NATS), LeaderChange(id="l", at_s=9.0, down_s=2.0, **NATS)),
    "kill": (Kill(id="k", at_s=5.0, down_s=2.0, **NATS), QuorumLoss(id="q", at_s=9.0, for_s=3.0, **NATS)),
    "power": (LeaderChange(id="l", at_s=4.0, down_s=1.0, **NATS), PowerLoss(id="p", at_s=8.0, down_s=2.0, **NATS)),
}


def three(*faults: Fault, seed: int = 1) -> Plan:
    """The small plan on three NATS servers."""
    return msgspec.structs.replace(plan_with(*faults, seed=seed), servers=Servers(nats_replicas=3))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_with_three_servers(name: str, seed: int) -> None:
    """G1 to G6 and G8 hold through elections and a lost quorum; each fault cut somebody off."""
    report, outcome = simulate(three(*FAULTS[name], seed=seed), None)
    assert report.verdict == "held", (report.reason, report.findings[:3])
    assert outcome.events == 150
    assert [one.verdict for one in report.guarantees if one.guarantee == "G8"] == ["held"]
    assert not outcome.relay_exits


def test_the_same_seed_is_the_same_run_with_three_servers() -> None:
    """Elections draw from the seed alone."""
    hashes = {simulate(three(*FAULTS["both"]), None)[1].trace_sha256 for _ in range(2)}
    assert len(hashes) == 1


def test_one_server_has_no_leader_to_change() -> None:
    """A plan for one server that asks for an election or a lost quorum is refused, and says what to ask for."""
    plan = msgspec.structs.replace(three(*FAULTS["both"]), servers=Servers())
    with pytest.raises(PlanInvalid, match=r"'q' \(quorum_loss\): expected servers.nats_replicas = 3, got 1"):
        Plan.decode(plan.encode())
    elsewhere = three(LeaderChange(id="f", at_s=5.0, down_s=1.0, process=ProcessName.POSTGRES))
    with pytest.raises(PlanInvalid, match="expected process 'nats', got 'postgres'"):
        Plan.decode(elsewhere.encode())
    assert Plan.decode(three(*FAULTS["both"]).encode()) == three(*FAULTS["both"])
