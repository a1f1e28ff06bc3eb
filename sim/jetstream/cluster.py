"""Three NATS servers seen from outside as one: who leads, what is agreed on, and what clients hear while nobody is.

One server's model stands for the group, for its clients can't tell the members apart but by what fails:

- *Nobody leads*: a publish and a pull find no responders (503), what was in the leader's hands is agreed on later or
  never, and its PubAck is lost either way. Requests that waited end in 409. The next leader knows every delivery and
  every acknowledgement that was answered, for they are agreed on first.
- *No quorum*: the leader takes publishes and answers none; a second try of an id is refused while the first is in
  process (10158). Consumers have no leader. Some time after the quorum is back all is stored, and answered late.

A client whose server is gone loses its connection; the others take it in at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.jetstream import codec
from sim.jetstream.stream import Stream, error

if TYPE_CHECKING:
    from sim.jetstream.server import NatsServer

SERVERS = 3
CONSUMER_ELECTION_S = (0.05, 0.5)
"""How much later than their stream consumers have a leader."""
AGREEMENT_S = (1.0, 2.5)
"""How long it takes from the return of the others until all that waited is stored."""
IN_PROCESS = error(409, 10158, "duplicate message id is in process")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A message that was taken and not agreed on."""

    stream: Stream
    command: codec.Pub
    is_answered: bool
    """Whether somebody will still send its PubAck."""


class Cluster:
    """What a group of servers agrees on; a lone server always agrees with itself."""

    def __init__(self, server: NatsServer, rng: random.Random) -> None:
        self._server = server
        self._rng = rng
        self._leader = 0
        self._proposals: list[Proposal] = []
        self._planned: list[asyncio.TimerHandle] = []
        self.has_leader = True
        self.has_quorum = True
        self.serves_consumers = True

    @property
    def decides(self) -> bool:
        """Whether anything new can be agreed on."""
        return self.has_leader and self.has_quorum

    # What happens to it

    def lose_leader(self) -> None:
        """The leading server is gone: its clients are cut off, what it had in hand is stored later, or never."""
        self._cancel()
        in_hand = self._server.take_unstored()
        self._proposals += [Proposal(*one, is_answered=False) for one in in_hand if self._rng.random() < 0.5]
        self.has_leader = False
        self._end_consumers(lambda: True)
        self._server.drop_clients(lambda number: number % SERVERS == self._leader)
        self._leader = (self._leader + 1) % SERVERS

    def elect(self) -> None:
        """Another server leads: what reached it is stored, without a word to whoever published it."""
        if not self.has_leader:
            self.has_leader = True
            self._agree()

    def lose_follower(self) -> None:
        """One that does not lead is gone: nobody misses it but its clients."""
        self._server.drop_clients(lambda number: number % SERVERS == (self._leader + 1) % SERVERS)

    def lose_quorum(self) -> None:
        """All but the leader are gone, and their clients cut off; what is in hand waits."""
        self._cancel()
        self._proposals += [Proposal(*one, is_answered=True) for one in self._server.take_unstored()]
        self.has_quorum = False
        # a consumer's leader is on any of the three: if it is here it steps down, else it is gone without a word
        self._end_consumers(lambda: self._rng.randrange(SERVERS) == 0)
        self._server.drop_clients(lambda number: number % SERVERS != self._leader)

    def regain_quorum(self) -> None:
        """The others are back; they need a moment until they agree."""
        if not self.has_quorum and not self._planned:
            self._later(AGREEMENT_S, self._agree)

    # What waits

    def propose(self, stream: Stream, command: codec.Pub) -> dict[str, Any] | None:
        """Take a message that can't be agreed on now; the refusal, if its id is in process already."""
        message_id = codec.header(command.headers, "Nats-Msg-Id")
        waiting = (codec.header(one.command.headers, "Nats-Msg-Id") for one in self._proposals)
        if message_id is not None and message_id in waiting:
            return IN_PROCESS | {"stream": stream.name, "seq": 0}
        self._proposals.append(Proposal(stream, command, is_answered=True))
        return None

    def _agree(self) -> None:
        self._planned.clear()
        self.has_quorum = True
        proposals, self._proposals = self._proposals, []
        for one in proposals:
            self._server.store(one.stream, one.command, is_answered=one.is_answered)
        self._later(CONSUMER_ELECTION_S, self._serve_consumers)

    def _serve_consumers(self) -> None:
        self._planned.clear()
        self.serves_consumers = True
        self._server.restart_consumers()

    def _end_consumers(self, steps_down: Callable[[], bool]) -> None:
        self.serves_consumers = False
        self._server.stop_consumers(steps_down)

    def _later(self, within_s: tuple[float, float], what: Callable[[], None]) -> None:
        self._planned.append(asyncio.get_running_loop().call_later(self._rng.uniform(*within_s), what))

    def _cancel(self) -> None:
        for one in self._planned:
            one.cancel()
        self._planned.clear()
