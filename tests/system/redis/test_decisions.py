"""What is decided without Redis: keys and ids, one feed's transaction, ages, news."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.account import Burst
from system.cursor import ORDINAL_MAX, SEQ_MAX, Position, pack
from system.event import RetentionClass
from system.places import NotReady
from system.session import Floors
from system.settings import Settings
from system.transport.redis.feed import AGES_PER_RETENTION, ID_MARGIN_S, Entry, Feed, Step, commands, rising
from system.transport.redis.keys import Keys, entry_id, next_id, position_of
from system.transport.redis.news import News
from system.transport.redis.page import read_page
from system.transport.redis.safety import WANTED, unsafe
from system.transport.redis.trimmer import Ages
from tests.system.harness import SECRET

KEYS = Keys("S")
SETTINGS = Settings(jwt_hs256_secret=SECRET)
positions = st.builds(pack, st.integers(0, ORDINAL_MAX), st.integers(0, SEQ_MAX))


def id_order(entry: str) -> tuple[int, int]:
    """The order of stream entries as Redis defines it."""
    first, second = entry.split("-")
    return int(first), int(second)


@given(positions, positions)
def test_entry_ids_are_ordered_as_positions_are(one: Position, other: Position) -> None:
    """A position and its entry's id say the same, in the same order, and fit Redis's two 64-bit numbers."""
    assert (id_order(entry_id(one)) < id_order(entry_id(other))) == (one < other)
    assert position_of(entry_id(one).encode()) == one
    assert max(id_order(entry_id(one))) < 2**64


@given(positions)
def test_the_next_id_is_the_first_above(position: Position) -> None:
    """Nothing lies between a position and the id at which a trim stops, also at the end of an epoch."""
    assert id_order(entry_id(position)) < id_order(next_id(position))
    if position < pack(ORDINAL_MAX, SEQ_MAX):
        assert next_id(position) == entry_id(Position(position + 1))


def test_every_key_has_the_stream_s_hash_tag() -> None:
    """A cluster keeps all of one stream's keys on one node, and two streams' keys are never the same."""
    made = [
        KEYS.feed, KEYS.fence, KEYS.ages, KEYS.news, KEYS.event_id("x"),
        *(key for one in RetentionClass for key in (KEYS.events("ann", one), KEYS.floors(one), KEYS.oldest(one))),
    ]  # fmt: skip
    assert {key[: key.index("}") + 1] for key in made} == {"{mesh:S}"}
    assert len(set(made)) == len(made)


def step(*agents: str, age_s: float = 0.0) -> Step:
    """A step over one critical event of each of these agents, at positions 11, 12, …"""
    entries = [
        Entry(
            position=Position(11 + index),
            agent=agent,
            kept_class=RetentionClass.CRITICAL,
            id=f"e{index}",
            type="t",
            text="{}",
        )
        for index, agent in enumerate(agents)
    ]
    after = Feed(watermark=Position(10 + max(1, len(agents))), mark_ns=7, tag="abcdef")
    return Step(before=Position(10), after=after, entries=entries, floors={}, age_s=age_s)


def test_a_feed_is_one_transaction_of_everything() -> None:
    """Entries, ids, what is the oldest, age, watermark, and the news with the agents, each once."""
    made = commands(KEYS, SETTINGS, step("ann", "bob", "ann"), floors={}, now_ms=1_000_000_000)
    names = [command[0] for command in made]
    assert names.count("XADD") == names.count("SET") == 3
    assert [
        command[4] for command in made if command[0] == "ZADD" and command[1] == KEYS.oldest(RetentionClass(1))
    ] == [
        "ann",
        "bob",
    ]
    assert made[-1] == ("PUBLISH", KEYS.news, "10 13 ann bob")
    assert ("HSET", KEYS.feed, "watermark", 13, "mark_ns", 7, "tag", "abcdef") in made


def test_a_step_over_nothing_moves_the_watermark_alone() -> None:
    """Repeats and dead letters leave no entry, no id, no age; the watermark passes them, and replicas hear it."""
    made = commands(KEYS, SETTINGS, step(), floors={}, now_ms=1)
    assert [command[0] for command in made] == ["HSET", "PUBLISH"]


@given(st.integers(0, 10**13), st.floats(0, 86_400 * 7))
def test_an_age_is_never_told_too_old(now_ms: int, age_s: float) -> None:
    """What an event's age is noted as lies within a thousandth of the shorter retention, and never above the truth; its
    id outlives it.
    """
    made = commands(KEYS, SETTINGS, step("ann", age_s=age_s), floors={}, now_ms=now_ms)
    noted = next(int(command[2]) for command in made if command[:2] == ("ZADD", KEYS.ages))
    fed_ms = now_ms - round(age_s * 1_000)
    assert fed_ms < noted <= fed_ms + SETTINGS.retention_standard_s * 1_000 / AGES_PER_RETENTION
    lifetime_s = next(int(command[4]) for command in made if command[0] == "SET")
    assert lifetime_s >= SETTINGS.retention_critical_s - age_s + ID_MARGIN_S


def test_floors_only_rise() -> None:
    """Of the floors that Postgres has, those above what Redis has are written."""
    wanted = {"ann": Position(5), "bob": Position(5), "cid": Position(5)}
    assert rising(wanted, [b"4", b"6", None]) == {"ann": 5, "cid": 5}


def test_ages_answer_both_ways() -> None:
    """Which watermark was reached by a time, and when a position was fed; a clock that was set back hides nothing."""
    ages = Ages([100, 200, 300], [Position(10), Position(20), Position(30)])
    assert [ages.reached_by(at) for at in (99, 100, 250, 999)] == [0, 10, 20, 30]
    assert [ages.fed_at(Position(at), 999) for at in (1, 10, 11, 30, 31)] == [100, 100, 200, 300, 999]
    set_back = Ages([100, 200], [Position(20), Position(10)])
    assert set_back.reached_by(150) == set_back.reached_by(200) == 20


def test_a_page_merges_and_cuts() -> None:
    """The four streams' entries come in order of position, cut at the rows asked for; floors are the higher ones."""

    def entry(seq: int) -> tuple[bytes, list[bytes]]:
        return f"1-{seq}".encode(), [b"t", b"k", b"d", b"%d" % seq]

    answers: list[Any] = [b"900", [b"7", None], [b"3", b"9"], [entry(5), entry(8)], [entry(6)], [], [entry(4)]]
    page = read_page(answers, 3)
    assert [row.text for row in page.rows] == ["4", "5", "6"]
    assert (page.floors, page.watermark, page.full) == (Floors(Position(7), Position(9)), 900, True)
    assert not read_page(answers, 5).full
    with pytest.raises(NotReady, match="not filled yet"):
        read_page([None, *answers[1:]], 3)


def test_what_is_unsafe_is_named() -> None:
    """Each setting that is not as wanted, or not told, is a sentence of its own."""
    good = {name: value for name, (value, _) in WANTED.items()}
    assert unsafe(good) == []
    assert [text.split(":")[0] for text in unsafe(good | {"appendfsync": "no"})] == ["Redis appendfsync"]
    assert len(unsafe({})) == len(WANTED)


class Session:
    """A live session as `News` sees it, which notes what it had reached when it lost live."""

    types: frozenset[str] = frozenset()

    def __init__(self, news: News, agent: str, position: int) -> None:
        self.news = news
        self.position = Position(position)
        self.losses = 0
        news.open(agent)
        assert news.covers(agent, self.position)
        news.join(agent, self)

    def push(self, payload: bytes, burst: Burst) -> None:
        """Never: what is new is read."""
        raise AssertionError

    def lose_live(self) -> None:
        """Note where it goes on."""
        self.losses += 1
        self.position = self.news.reached(self.position)


@pytest.fixture
async def news() -> News:
    """News with a head at 10."""
    made = News(on_moved=lambda: None)
    made.polled(Position(10), since=None)
    return made


async def test_news_reach_those_they_name(news: News) -> None:
    """A named agent's sessions look again, from the head before the news: what it is about is not passed over."""
    ann, bob = Session(news, "ann", 10), Session(news, "bob", 10)
    news.take("10 12 bob")
    news.take("12 15 ann")
    assert (ann.losses, ann.position, bob.losses, bob.position) == (1, 12, 1, 10)
    assert not news.covers("ann", Position(14))
    assert news.covers("ann", Position(15))
    assert news.covers("bob", Position(12))
    news.take("15 16 _all")
    assert not news.covers("bob", Position(15))


@pytest.mark.parametrize("text", ["13 15 bob", "3 5", "11 12 _all"])
async def test_a_hole_makes_everybody_look_again(news: News, text: str) -> None:
    """News that don't begin where the last ones ended, or that go back, are for everybody; nobody's place moves."""
    ann = Session(news, "ann", 10)
    news.take(text)
    assert (ann.losses, ann.position) == (1, 10)
    after = int(text.split()[1])
    assert news.covers("ann", Position(after))
    assert not news.covers("ann", Position(after - 1))


async def test_nobody_reaches_another_epoch_by_news(news: News) -> None:
    """A live session's place stays in its epoch, whatever the head: the next one's tag may be unknown here."""
    Session(news, "ann", 10)
    news.take(f"10 {pack(1, 0)} bob")
    assert news.reached(Position(10)) == 10
    assert news.reached(pack(1, 0)) == pack(1, 0)
    news.take(f"{pack(1, 0)} {pack(1, 5)} bob")
    assert news.reached(pack(1, 0)) == pack(1, 5)


async def test_a_poll_finds_lost_news(news: News) -> None:
    """A watermark above the head was not told: everybody looks again. One below it counts only if it lies below what
    was known when it was asked for: an answer may be older than the news that overtook it.
    """
    ann = Session(news, "ann", 10)
    news.polled(Position(10), since=Position(10))
    news.polled(None, since=Position(10))
    news.polled(Position(9), since=Position(8))
    assert ann.losses == 0
    news.polled(Position(12), since=Position(10))
    assert (ann.losses, ann.position, news.head) == (1, 10, 12)
    news.polled(Position(4), since=Position(12))
    assert news.head == 4
    assert news.covers("ann", Position(4))


async def test_a_closed_source_leaves_nothing(news: News) -> None:
    """Neither sessions nor what was heard of an agent outlive its last source."""
    ann = Session(news, "ann", 10)
    news.open("ann")
    news.take("10 11 ann")
    news.close("ann")
    assert not news.covers("ann", Position(10))
    news.leave("ann", ann)
    news.close("ann")
    assert news.covers("ann", Position(10))
    assert (news._open, news._heard, news._live) == ({}, {}, {})
