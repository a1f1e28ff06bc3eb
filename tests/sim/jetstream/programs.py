"""Random programs for one stream and two consumers, and how an arm plays them: steps have outcomes and leave states.

`slow` never gets a message again by itself; with `quick` every delivery is overdue by the next step. So the outcome
of a step does not depend on how fast an arm is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from hypothesis import strategies as st
from nats.aio.msg import Msg

from tests.sim.jetstream.stage import UNTIL_S, Stage

QUICK_ACK_WAIT_S = 0.3
OVERDUE_S = 0.8
FLUSHED_S = 0.7
AGREE_S = 2.0
"""How long a real server's own knowledge may lag behind its answers: it tells its consumers after the PubAck."""
ANSWERS = (b"+ACK", b"-NAK", b"+TERM", b"+WPI")
CONSUMERS = ("slow", "quick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Publish."""

    subject: str
    id: str | None = None
    last_seq: int | None = None
    """The last sequence that it expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Take what is there."""

    consumer: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Say something of a delivery, by its number of all so far, from the last one backwards."""

    back: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete a message, or purge: up to a sequence, or all but some."""

    seq: int = 0
    before: int = 0
    keep: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Tighten the stream's limits; -1 leaves one as it is."""

    messages: int
    per_subject: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """Change what the slow consumer may have."""

    ack_pending: int
    subject: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL, and a new life."""


Step: TypeAlias = Put | Pull | Answer | Remove | Limit | Narrow | Kill
SUBJECTS = st.sampled_from("xy")
PUTS = st.builds(
    Put, subject=SUBJECTS, id=st.none() | st.sampled_from("abc"), last_seq=st.sampled_from([None, None, None, 1, 4])
)
STEPS = st.one_of(
    PUTS,
    PUTS,
    PUTS,
    st.builds(Pull, consumer=st.sampled_from(CONSUMERS), batch=st.integers(1, 4)),
    st.builds(Pull, consumer=st.just("slow"), batch=st.integers(1, 4)),
    st.builds(Answer, back=st.integers(0, 5), body=st.sampled_from(ANSWERS)),
    st.builds(Answer, back=st.integers(0, 5), body=st.sampled_from(ANSWERS)),
    st.builds(Remove, seq=st.integers(1, 12)),
    st.builds(Remove, before=st.integers(0, 9)) | st.builds(Remove, keep=st.integers(1, 4)),
    st.builds(Limit, messages=st.sampled_from([-1, 3, 8]), per_subject=st.sampled_from([-1, -1, 2])),
    st.builds(Narrow, ack_pending=st.sampled_from([1, 3, 1_000]), subject=st.sampled_from([None, None, "x"])),
    st.builds(Kill),
)
BEGINNINGS = st.lists(PUTS, max_size=4)
PROGRAMS = st.tuples(BEGINNINGS, st.lists(STEPS, min_size=8, max_size=25)).map(lambda both: both[0] + both[1])


class Player:
    """Plays a program on a stage."""

    def __init__(self, at: Stage) -> None:
        self.at = at
        self._deliveries: list[Msg] = []
        self._config: Any = None
        self._next_seq = 1

    async def open(self) -> None:
        """The stream and its consumers."""
        await self.at.make_stream()
        self._config = (await self.at.js.stream_info(self.at.stream)).config
        await self.at.make_consumer("slow")
        await self.at.make_consumer("quick", ack_wait=QUICK_ACK_WAIT_S, max_deliver=3)

    async def play(self, program: list[Step], expected: list[Any] | None = None) -> list[Any]:
        """The outcome of each step and the state that it left; a state is looked at until it is the expected one."""
        seen: list[Any] = []
        for step in program:
            self.at.seen.clear()
            await self.take(step)
            wanted = None if expected is None else expected[len(seen)][-1]
            seen.append((step, list(self.at.seen), await self.state(wanted)))
            self._next_seq = seen[-1][-1][0][4] + 1
            if expected is not None and seen[-1] != expected[len(seen) - 1]:
                break  # what follows means nothing
        return seen

    async def state(self, wanted: Any) -> Any:
        """What the stream and the consumers tell of themselves."""
        deadline = asyncio.get_running_loop().time() + AGREE_S
        while True:
            self.at.seen.clear()
            await self.at.state()
            for name in CONSUMERS:
                await self.at.consumer(name)
            found = list(self.at.seen)
            if wanted in (None, found) or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(0.005)

    async def take(self, step: Step) -> None:
        """One step."""
        at = self.at
        match step:
            case Put(subject=subject, id=message_id, last_seq=last_seq):
                headers = {"Nats-Msg-Id": message_id, "Nats-Expected-Last-Sequence": last_seq}
                given = {key: str(value) for key, value in headers.items() if value is not None}
                ack = await at.tries(at.js.publish(f"{at.subject}.{subject}", b"x", headers=given or None))
                at.see(ack and (ack.seq, bool(ack.duplicate)))
            case Pull(consumer=consumer, batch=batch):
                await self._pull(consumer, batch)
            case Answer(back=back, body=body):
                if self._deliveries:
                    await at.nc.request(
                        self._deliveries[-1 - back % len(self._deliveries)].reply, body, timeout=UNTIL_S
                    )
                    if body == b"+WPI":
                        await asyncio.sleep(OVERDUE_S)
            case Remove(seq=seq) if seq:
                at.see(await at.tries(at.js.delete_msg(at.stream, seq)))
            case Remove(before=before, keep=keep):
                before = min(before, self._next_seq)  # beyond it consumers that were never pulled forget it at a kill
                given_limits: dict[str, Any] = {"seq": before} if before else {"keep": keep} if keep else {}
                at.see(await at.js.purge_stream(at.stream, **given_limits))
                await asyncio.sleep(OVERDUE_S)  # what was overdue is found so again, but not at once
            case Limit(messages=messages, per_subject=per_subject):
                await self._limit(messages, per_subject)
            case Narrow(ack_pending=ack_pending, subject=only):
                given_filter = {"filter_subject": f"{at.subject}.{only}"} if only else {}
                await at.tries(at.make_consumer("slow", max_ack_pending=ack_pending, **given_filter))
            case Kill():
                await asyncio.sleep(FLUSHED_S)
                await at.restart()
                await asyncio.sleep(OVERDUE_S)

    async def _limit(self, messages: int, per_subject: int) -> None:
        """Never wider again: a real server that is killed then has back what the tighter limit took."""
        now = self._config.max_msgs, self._config.max_msgs_per_subject
        asked = messages, per_subject
        both = [min((one for one in pair if one > 0), default=-1) for pair in zip(now, asked, strict=True)]
        self._config = replace(self._config, max_msgs=both[0], max_msgs_per_subject=both[1])
        await self.at.tries(self.at.js.update_stream(self._config))

    async def _pull(self, consumer: str, batch: int) -> None:
        """Take what is there, without waiting: it ends with a status, or with the last message."""
        inbox = self.at.nc.new_inbox()
        subscription = await self.at.nc.subscribe(inbox)
        await self.at.pull(inbox, consumer, batch=batch, no_wait=True)
        for _ in range(batch):
            message = await self.at.tries(subscription.next_msg(timeout=1.0))
            if message is None:
                break
            self.at.note(message)
            if not message.reply:
                break
            self._deliveries.append(message)
        await subscription.unsubscribe()
        if consumer == "quick":
            await asyncio.sleep(OVERDUE_S)
