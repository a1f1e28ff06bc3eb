"""A relay that keeps its promises, in forty lines, and agents that use it badly: a source of correct histories.

It shares no code with the checkers: it knows what is retained, tells what it deleted, and delivers the rest in order.
Agents crash before saving, come back late, ask for `earliest`, and lose their connection whenever they like.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.reports.story import CRITICAL, STANDARD, Story

AGENTS = ("a", "b")
CRITICAL_S, STANDARD_S = 60.0, 20.0
Step = tuple[str, int, float]
"""(what, which agent, how many or how long)."""


@dataclass
class _Stored:
    seq: int
    event_id: str
    agent: str
    critical: bool
    stored_ns: int


@dataclass
class _Agent:
    name: str
    place: int = 0
    """Sequence that it saved."""
    saved: str | None = None
    at: int = 0
    """Sequence that its connection has got to."""
    is_open: bool = False
    told: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})


class Model:
    """Plays steps and writes the history of them."""

    def __init__(self) -> None:
        self.story = Story(critical_s=CRITICAL_S, standard_s=STANDARD_S, slack_s=0.5)
        self.kept: list[_Stored] = []
        self.deleted: list[_Stored] = []
        self.agents = [_Agent(name) for name in AGENTS]
        self.published = 0

    def play(self, steps: list[Step]) -> Story:
        """Play the steps, then heal, connect everybody, deliver everything, and converge."""
        for what, who, much in steps:
            getattr(self, f"_{what}")(self.agents[who], much)
        self.story.phase("healed")
        for agent in self.agents:
            if not agent.is_open:
                self._connect(agent, 0)
            self._read(agent, 10_000)
        self.story.wait(1)
        self.story.phase("converged")
        self.story.phase("end")
        return self.story

    def _wait(self, agent: _Agent, much: float) -> None:
        self.story.wait(much * 4)
        self._sweep()

    def _publish(self, agent: _Agent, much: float) -> None:
        """Live agents read it at once now and then; every third is standard, every fifth for all."""
        self.published += 1
        name = f"e{self.published}"
        to = "_all" if self.published % 5 == 0 else agent.name
        critical = self.published % 3 != 0
        self.story.send(name, to, CRITICAL if critical else STANDARD)
        if much > 6:  # the first answer is lost, the retry finds the event stored
            self.story.fail(name, "unknown")
            self.story.send(name, to, CRITICAL if critical else STANDARD)
        stored_ns = self.story.now_ns
        self.story.ack(name, duplicate=much > 6)
        self.kept.append(_Stored(self.story.seq, name, to, critical, stored_ns))

    def _connect(self, agent: _Agent, much: float) -> None:
        if agent.is_open:
            return
        self._sweep()
        if much > 8:
            agent.at, agent.told = 0, {kind: self._floor(agent, kind) for kind in (True, False)}
            self.story.connect(agent.name, "earliest")
        elif agent.saved is None:
            agent.at, agent.told = 0, {kind: self._floor(agent, kind) for kind in (True, False)}
            self.story.connect(agent.name, None)
        else:
            agent.at, agent.told = agent.place, {True: 0, False: 0}
            if self._floor(agent, True) > agent.at:
                self.story.connect(agent.name, agent.saved, status=410, reason="expired")
                self._tell(agent, via_status=True)
                self.story.disconnect(agent.name)
            self.story.connect(agent.name, agent.saved)
        agent.is_open = True

    def _read(self, agent: _Agent, much: float) -> None:
        """Read some events; what was deleted meanwhile is told before what lies behind it."""
        if not agent.is_open:
            return
        for _ in range(int(much) + 1):
            self._sweep()
            self._tell(agent)
            rest = [one for one in self.kept if one.seq > agent.at and one.agent in (agent.name, "_all")]
            if not rest:
                if self.story.seq:
                    agent.at = self.story.seq
                    self.story.bookmark(agent.name)
                return
            self.story.deliver(agent.name, rest[0].event_id)
            agent.at = rest[0].seq

    def _save(self, agent: _Agent, much: float) -> None:
        if agent.is_open and agent.at:
            agent.place, agent.saved = agent.at, f"{self.story.epoch}-{agent.at}"

    def _leave(self, agent: _Agent, much: float) -> None:
        """The connection ends; what was not saved is forgotten."""
        if agent.is_open:
            self.story.disconnect(agent.name)
            agent.is_open = False

    def _away(self, agent: _Agent, much: float) -> None:
        """It leaves with its cursor saved, stays away while events come and expire, and returns."""
        self._connect(agent, 0)
        self._publish(agent, 0)
        self._read(agent, 10)
        self._save(agent, 0)
        self._leave(agent, 0)
        for _ in range(3):
            self._publish(agent, 0)
        self._wait(agent, much * 2)
        self._publish(agent, 0)
        self._connect(agent, 0)

    def _sweep(self) -> None:
        now_ns = self.story.now_ns
        for one in list(self.kept):
            if now_ns - one.stored_ns >= (CRITICAL_S if one.critical else STANDARD_S) * 1e9:
                self.kept.remove(one)
                self.deleted.append(one)

    def _floor(self, agent: _Agent, critical: bool) -> int:
        mine = [one.seq for one in self.deleted if one.critical == critical and one.agent in (agent.name, "_all")]
        return max(mine, default=0)

    def _tell(self, agent: _Agent, *, via_status: bool = False) -> None:
        floors = {kind: self._floor(agent, kind) for kind in (True, False)}
        gone, gap = (floors[kind] > max(agent.at, agent.told[kind]) for kind in (True, False))
        if not gone and not gap:
            return
        name = {kind: self._name_at(floors[kind]) for kind in (True, False)}
        if gone:
            via = "status" if via_status else "event"
            self.story.gone(agent.name, critical=name[True], standard=name[False], via=via)  # type: ignore[arg-type]
        else:
            self.story.gap(agent.name, critical=name[True], standard=name[False])
        agent.told = floors

    def _name_at(self, seq: int) -> str | None:
        return next((one.event_id for one in self.deleted if one.seq == seq), None)
