"""A simulated TCP broken on purpose is found, by a scene that is named; loopback has answered before it is broken."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

from sim.host import Host
from sim.tcp import End, Flow
from sim.transport import SimTransport
from tests.sim import test_endings_conformance, test_partition_conformance, test_tcp_conformance
from tests.sim.test_partition_conformance import Loopback
from tests.sim.test_tcp_conformance import Ground

pytestmark = pytest.mark.conformance
LIMIT_S = 15.0
Patch = pytest.MonkeyPatch


class Scene(NamedTuple):
    """A scene that loopback has played, and how to play it in the simulated world."""

    name: str
    real: Any
    simulated: Callable[[], Any]


def close_never_resets(patch: Patch) -> None:
    """Bytes that nobody read go with a plain end."""
    original = End.close

    def close(self: End) -> None:
        self.unread_bytes, self.is_accepted = 0, True
        original(self)

    patch.setattr(End, "close", close)


def reset_is_an_end(patch: Patch) -> None:
    """A reset arrives as the end of the stream does."""

    def reset_arrives(self: End) -> None:
        self.at_eof = True
        if self.owner is not None:
            self.owner.readable()

    patch.setattr(End, "reset_arrives", reset_arrives)


def no_broken_pipe(patch: Patch) -> None:
    """After the other side's end a reset is a reset, as in every other state."""
    patch.setattr("sim.tcp.BrokenPipeError", ConnectionResetError, raising=False)


def close_forgets_what_was_sent(patch: Patch) -> None:
    """A close takes back what is in the kernel's buffer."""
    original = End.close

    def close(self: End) -> None:
        if self.peer is not None and not self.is_closed:
            self.out.abandon()
        original(self)

    patch.setattr(End, "close", close)


def buffers_without_end(patch: Patch) -> None:
    """The kernel takes whatever is written."""
    patch.setattr(End, "room", lambda self: 1 << 40)


def refused_is_reset(patch: Patch) -> None:
    """Where nobody listens a dial is reset."""
    patch.setattr("sim.host.ConnectionRefusedError", ConnectionResetError, raising=False)


def half_close_is_ignored(patch: Patch) -> None:
    """write_eof does nothing."""
    patch.setattr(SimTransport, "write_eof", lambda self: None)


def lost_bytes_stay_lost(patch: Patch) -> None:
    """What a cut lost is not sent again."""
    patch.setattr(Flow, "_stall", lambda self: None)


def nobody_gives_up(patch: Patch) -> None:
    """A kernel sends again for ever."""
    original = End.fail
    patch.setattr(End, "fail", lambda self, error: None if isinstance(error, TimeoutError) else original(self, error))


def a_cut_is_both_ways(patch: Patch) -> None:
    """Who does not hear is not heard either."""
    original = test_partition_conformance.Simulated.deafen

    def deafen(self: Any, who: str) -> None:
        original(self, "client")
        original(self, "server")

    patch.setattr(test_partition_conformance.Simulated, "deafen", deafen)


def dials_answered_at_once(patch: Patch) -> None:
    """A dial into a partition is refused at once, instead of being tried again and again."""
    original = Host.connect

    async def connect(self: Host, loop: Any, address: str, port: int) -> End:
        if self.network.link(self, self.network.hosts[address]).is_cut:
            raise ConnectionRefusedError(111, f"Connect call failed ({address!r}, {port})")
        return await original(self, loop, address, port)

    patch.setattr(Host, "connect", connect)


BREAKS: dict[Callable[[Patch], None], str] = {
    close_never_resets: "_aborted_with_unread_bytes",
    reset_is_an_end: "_aborted_with_unread_bytes",
    no_broken_pipe: "_written_to_after_its_end",
    close_forgets_what_was_sent: "_closed_by_the_server",
    buffers_without_end: "_a_reader_that_waits",
    refused_is_reset: "_refused",
    half_close_is_ignored: "_half_closed",
    lost_bytes_stay_lost: "_bytes_outlive_a_cut",
    nobody_gives_up: "_unanswered_for_too_long",
    a_cut_is_both_ways: "_deaf_one_way",
    dials_answered_at_once: "_a_listener_that_hears_nothing",
}
"""With the first scene that shows it."""


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Every scene of connections and partitions, with what loopback answered."""
    found = []
    for module in (test_tcp_conformance, test_endings_conformance):
        for scene in module.SCENES:
            real = asyncio.run(asyncio.wait_for(scene(Ground("127.0.0.1")), LIMIT_S))
            found.append(Scene(scene.__name__, real, partial(module._simulated, scene)))
    for cut in test_partition_conformance.SCENES:
        real = asyncio.run(_cut_off(cut))
        found.append(Scene(cut.__name__, real, partial(test_partition_conformance._simulated, cut)))
    return found


async def _cut_off(scene: Callable[[Any], Any]) -> Any:
    loopback = Loopback()
    try:
        return copy.deepcopy(await asyncio.wait_for(scene(loopback), LIMIT_S))
    finally:
        await loopback.close()


def _different(scenes: list[Scene]) -> str | None:
    """The first scene that ends differently in the simulated world, or does not end."""
    for scene in scenes:
        try:
            found = scene.simulated()
        except Exception as error:  # whatever a broken model does is a difference
            found = error
        if found != scene.real:
            return scene.name
    return None


def test_the_whole_model_holds(scenes: list[Scene]) -> None:
    """Without a break every scene ends alike: whatever the breaks show is theirs."""
    assert _different(scenes) is None
    assert len(scenes) > 25


@pytest.mark.parametrize(("break_it", "scene"), BREAKS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_broken_model_is_found(
    scenes: list[Scene], break_it: Callable[[Patch], None], scene: str, monkeypatch: Patch
) -> None:
    """The scene ends differently in the simulated world, and is named; loopback's answers are what they were."""
    break_it(monkeypatch)
    assert _different(scenes) == scene
