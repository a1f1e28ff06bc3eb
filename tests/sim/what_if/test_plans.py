"""Variants as plans: the base is the ADR's window to the byte; what can't be is told in the words that were used."""

from __future__ import annotations

import hashlib
import shlex
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.check import problems_of
from faults.plan import Plan
from faults.vocabulary import REPLICAS, Cut, Down, Kill, Link, Pause, PowerLoss, ProcessName
from sim.programs import relay_settings
from sim.what_if.plans import notes_of, plan_of, sentences_of
from sim.what_if.settings import SETTINGS, Unit
from sim.what_if.variants import ASKED, AskedWrong, Variant, variants_of
from sim.window import DAY_S, HOUR_S, window_plan

PINNED = {
    (1, 21.0): "97dcf9efb9a6601a06f976c02c5a6db982d68aface1a16e2d7c5aa2c1e95983b",
    (1, 0.5): "c697e2a0464ba6ea609b556111fef929322529c920f022541b185cc3763a9fea",
    (7, 3.0): "4fc8046e0a8fef9552198ddaa3be20808aaf6dac0b5db6844cf63f80e333d339",
}
"""SHA-256 of the window's plans by seed and days: whoever changes one changes what the ADR is compared with."""


def asked(*words: str, outages: tuple[str, ...] = (), days: float = 2.0) -> Plan:
    """The plan of one variant."""
    (variant,) = variants_of(words, outages, (), with_base=False)
    return plan_of(variant, seed=1, days=days)


def refused(*words: str, outages: tuple[str, ...] = (), days: float = 2.0) -> str:
    """What one variant is refused with."""
    with pytest.raises(AskedWrong) as caught:
        asked(*words, outages=outages, days=days)
    return str(caught.value)


@pytest.mark.parametrize(("seed", "days"), PINNED)
def test_the_window_is_what_it_was(seed: int, days: float) -> None:
    """The base column is the window's own plan, to the byte, and that is the one that the ADR was held against."""
    (base,) = variants_of((), (), (), with_base=True)
    plan = plan_of(base, seed=seed, days=days)
    assert plan.encode() == window_plan(seed=seed, days=days).encode()
    assert hashlib.sha256(plan.encode()).hexdigest() == PINNED[seed, days]


def test_setting_everything_to_its_default_changes_only_the_name() -> None:
    """The table's defaults are the window's; only publishers pause longer between tries than the base's."""
    words = [
        f"{one.name}={one.value_shown(one.default)}"
        for one in SETTINGS.values()
        if one.name not in ("days", "events", "agents.sleepers")
    ]
    plan = asked(*words, days=3.0)
    publishers = [msgspec.structs.replace(one, retry_max_s=0.5) for one in plan.workload.publishers]
    work = msgspec.structs.replace(plan.workload, publishers=tuple(publishers))
    limits = window_plan(days=3.0).limits
    assert msgspec.structs.replace(plan, name="window-3-days", workload=work, limits=limits) == window_plan(days=3.0)
    assert relay_settings(plan) == relay_settings(window_plan(days=3.0))


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("retention.standard=6h", "retention.standard_s", 21_600.0),
        ("relay.retry_max=10s", "relay.retry_max_ms", 10_000),
        ("relay.lease=1m", "relay.lease_s", 60.0),
        ("limits.page_rows=10", "limits.page_rows", 10),
        ("nats.replicas=3", "servers.nats_replicas", 3),
        ("transport=redis", "transport", "redis"),
        ("events=500", "workload.events", 500),
        ("broadcast_share=5%", "workload.broadcast_share", 0.05),
        ("presence=off", "workload.presence_s", None),
        ("days=3", "duration_s", 3 * DAY_S),
        ("days=36h", "duration_s", 1.5 * DAY_S),
        ("converge_within=5m", "converge_within_s", 300.0),
    ],
)
def test_a_setting_reaches_its_field(word: str, path: str, value: Any) -> None:
    """What is set is what the plan says."""
    found: Any = asked(word)
    for step in path.split("."):
        found = getattr(found, step)
    assert found == value


def test_agents_are_as_asked() -> None:
    """Their number, tokens, acknowledgements and pace."""
    plan = asked("agents=200", "agents.token_ttl=10m", "agents.ack_interval=off", "agents.handler=50ms")
    assert len(plan.agents) == 200
    assert {(one.token_ttl_s, one.ack_interval_s, one.handler_ms) for one in plan.agents} == {(600.0, None, 50)}


def test_sleepers_sleep_exactly_as_long_as_asked() -> None:
    """Every sleep has the length, each sleeper wakes within the window, the others work in shifts as ever."""
    plan = asked("agents.sleep=30h", "agents.sleepers=5", days=4.0)
    usual = window_plan(days=4.0)
    for number, agent in enumerate(plan.agents):
        if number >= 5:
            assert agent.awake == usual.agents[number].awake
            continue
        sleeps = [after.from_s - (before.until_s or 0.0) for before, after in pairwise(agent.awake)]
        assert sleeps
        assert all(abs(one - 30 * HOUR_S) < 0.01 for one in sleeps)
    assert plan.workload.presence_s is None, "or nothing would be addressed to who sleeps"


def test_presence_is_as_asked_also_for_sleepers() -> None:
    """The note is there only where nobody said anything of presence."""
    for words, presence_s, notes in ((("agents.sleep=30h",), None, 1), (("agents.sleep=30h", "presence=2m"), 120.0, 0)):
        (variant,) = variants_of(words, (), (), with_base=False)
        plan = plan_of(variant, seed=1, days=4.0)
        assert plan.workload.presence_s == presence_s
        assert len(notes_of(variant, plan)) == notes


@pytest.mark.parametrize(
    ("text", "faults", "says"),
    [
        ("nats=3h", [Kill(id="outage-1", process=ProcessName.NATS, at_s=22.5 * HOUR_S, down_s=3 * HOUR_S)],
         "nats: kill at 22h30m for 3h (SIGKILL, started again after it)"),
        ("postgres=20m@1d", [Kill(id="outage-1", process=ProcessName.POSTGRES, at_s=DAY_S, down_s=1_200.0)],
         "postgres: kill at 1d for 20m"),
        ("relay=1h@1h", [Kill(id=f"outage-1-{one}", process=ProcessName.RELAY, only=one, at_s=HOUR_S, down_s=HOUR_S)
                         for one in REPLICAS], "both replicas: kill at 1h for 1h"),
        ("pause:relay-2=1h@1h", [Pause(id="outage-1", process=ProcessName.RELAY, only="relay-2", at_s=HOUR_S,
                                       for_s=HOUR_S)], "relay-2: pause at 1h for 1h (frozen"),
        ("power_loss:agent-03=1h@1h", [PowerLoss(id="outage-1", process=ProcessName.AGENT, only="agent-03",
                                                 at_s=HOUR_S, down_s=HOUR_S)], "agent-03: power_loss at 1h for 1h"),
        ("relay-nats=1h@1h", [Cut(id="outage-1", link=Link.RELAY_NATS, at_s=HOUR_S, for_s=HOUR_S)],
         "link relay-nats: cut at 1h for 1h (bytes are held"),
        ("down:relay-1.relay-postgres=1h@1h", [Down(id="outage-1", link=Link.RELAY_POSTGRES, only="relay-1",
                                                    at_s=HOUR_S, for_s=HOUR_S)],
         "link relay-postgres, relay-1 alone: down at 1h for 1h"),
        ("agent-03.agent-relay=1h@1h", [Cut(id="outage-1", link=Link.AGENT_RELAY, only="agent-03", at_s=HOUR_S,
                                            for_s=HOUR_S)], "link agent-relay, agent-03 alone: cut"),
        ("mesh=1h@1h", [Kill(id="outage-1", process=ProcessName.PUBLISHER, only="mesh", at_s=HOUR_S, down_s=HOUR_S)],
         "mesh: kill"),
    ],
)  # fmt: skip
def test_an_outage_is_the_fault_that_its_sentence_says(text: str, faults: list[Any], says: str) -> None:
    """What is played, when (in the middle, if nothing is said) and what is told of it are one."""
    (variant,) = variants_of((), (text,), (), with_base=False)
    plan = plan_of(variant, seed=1, days=2.0)
    assert list(plan.faults) == faults
    assert sentences_of(variant, plan)[0].startswith(says)


def test_all_agents_can_be_away_at_once() -> None:
    """A fault for each, at one time, which the plan's checks allow, for each says whom it hits."""
    plan = asked(outages=("agents=1h",))
    assert [one.only for one in plan.faults if isinstance(one, Kill)] == [agent.name for agent in plan.agents]
    assert len({one.at_s for one in plan.faults}) == 1


@pytest.mark.parametrize(
    ("words", "outages", "says"),
    [
        (["retention.critical=1h"], [], "expected retention.standard at most retention.critical, got 1d and 1h; swap"),
        (["retention.critical=1h"], [], "(retention.critical=1h, retention.standard=1d, the default)"),
        (["relay.retry_min=10s"], [], "expected relay.retry_min at most relay.retry_max, got 10s and 5s; swap them"),
        (["retention.standard=90s"], [], "got retention.standard=90s and relay.sweep_interval=2m, the default"),
        (["agents.sleep=50h"], [], "shorter than the window (2d), got agents.sleep=50h and agents.work_max=2h30m"),
        (["agents.sleepers=3"], [], "got agents.sleepers=3 and agents.sleep=off, the default; say how long"),
        (["agents.sleep=3h", "agents.sleepers=13"], [], "got agents.sleepers=13 and agents=12, the default"),
        (["agents.work_min=3h"], [], "got agents.work_min=3h and agents.work_max=2h30m, the default; swap them"),
        (["agents.work_max=9h"], [], "got agents.work_max=9h and agents.shift=8h, the default"),
        (["agents.work_min=1m", "agents.work_max=5m", "presence=5m"], [], "got presence=5m and agents.work_max=5m"),
        (["publishers.http=0", "publishers.nats=0"], [], "expected at least one, got none; nobody could publish"),
        (["redis.sync=no"], [], "redis.sync: expected it left out, for the transport is cursor"),
        (["transport=jetstream", "retention.critical=30d"], [],
         "8d, the stream's age limit, >= retention.critical + relay.expiry_margin"),
        (["transport=jetstream", "relay.expiry_margin=2m"], [], "relay.sweep_interval well below half of"),
        ([], ["nats=3h@46h"], "--outage nats=3h@46h: expected an end by days = 2d, got 2d1h; shorten it"),
        ([], ["nats=3d"], "--outage nats=3d: expected an end by days = 2d, got 3d"),
        ([], ["nats=3h", "pause:nats=1h"],
         "--outage pause:nats=1h: expected a beginning after --outage nats=3h on nats ends at 1d1h30m"),
        ([], ["relay-1=3h", "relay=1h"], "--outage relay=1h: expected a beginning after --outage relay-1=3h"),
        ([], ["redis=1h"], "--outage redis=1h: expected transport=redis, got transport=cursor"),
        ([], ["relay-redis=1h"], "expected transport=redis for relay-redis, got transport=cursor"),
        ([], ["agent-13=1h"], "got 'agent-13'; did you mean agent-12"),
        ([], ["relay-3=1h"], "did you mean relay-"),
        ([], ["ann.relay-nats=1h"], "expected one of relay-1, relay-2 before .relay-nats, got 'ann'"),
        ([], ["cut:nats=1h"], "for nats, got 'cut'; that is for links"),
        ([], ["kill:relay-nats=1h"], "expected cut or down for the link relay-nats, got 'kill'"),
        ([], ["disk_full:relay=1h"], "expected nats, postgres or redis for disk_full, got 'relay'"),
        ([], ["quorum_loss:nats=1h"], "expected nats.replicas = 3, got 1"),
        (["publishers.nats=0"], ["publisher-nats=1h"], "expected publishers.nats above 0 for publisher-nats"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_the_words_that_were_used(words: list[str], outages: list[str], says: str) -> None:
    """Contradictions name the settings as they were written, in their units; an outage as it was written."""
    told = refused(*words, outages=tuple(outages))
    assert says in told
    assert "_s" not in told.replace("_share", ""), "no field of a plan"
    assert "outage-" not in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nats", "expected WHAT=LENGTH or WHAT=LENGTH@WHEN such as nats=3h"),
        ("nats=3", "a number needs its unit"),
        ("nats=0s", "expected a length above 0s, got '0s'"),
        ("nats=3h@noon", "expected a duration such as"),
        ("stop:nats=3h", "expected one of kill, pause, power_loss, disk_full, quorum_loss, cut, down before the colon"),
    ],
)
def test_a_malformed_outage_is_refused_before_anything_is_planned(text: str, says: str) -> None:
    """Its form alone is wrong, and the message shows the right one."""
    with pytest.raises(AskedWrong) as caught:
        variants_of((), (text,), (), with_base=True)
    assert says in str(caught.value)
    assert f"--outage {text}: " in str(caught.value)


def _values(name: str) -> st.SearchStrategy[str]:
    setting = SETTINGS[name]
    if setting.unit is Unit.WORD:
        return st.sampled_from(setting.words)
    ends = [setting.value_shown(one) for one in (setting.low, setting.high)]
    usual = [] if setting.default is None else [setting.value_shown(setting.default)]
    return st.sampled_from(ends + usual + (["off"] if setting.can_be_off else []))


SOME = st.lists(
    st.sampled_from([name for name in SETTINGS if name not in ("agents", "events")]).flatmap(
        lambda name: _values(name).map(lambda value: f"{name}={value}")
    ),
    unique_by=lambda word: word.partition("=")[0],
    max_size=6,
)
OUTAGES = st.lists(
    st.sampled_from(
        ["nats=1h", "postgres=5m@3h", "relay=1h", "relay-2=1h@1h", "agents=2h", "relay-nats=9d", "pause:nats=1h@1h",
         "redis=1h", "mesh=1h", "quorum_loss:nats=1m", "disk_full:postgres=1h", "down:agent-relay=10m@0s"]
    ),
    unique=True, max_size=3,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(SOME, OUTAGES)
def test_whatever_is_asked_is_a_sound_plan_or_explained(words: list[str], outages: list[str]) -> None:
    """Any settings and outages together: refused with sentences, or a plan that every check and the relay take."""
    plan, problems = None, tuple[str, ...]()
    try:
        plan = asked(*words, outages=tuple(outages), days=1.0)
    except AskedWrong as error:
        problems = error.problems
    assert (plan is None) == bool(problems)
    assert all("expected" in one for one in problems)
    if plan is None:
        return
    assert problems_of(plan) == []
    assert Plan.decode(plan.encode()) == plan
    assert relay_settings(plan).retention_standard_s == plan.retention.standard_s


@settings(deadline=None)
@given(SOME, OUTAGES)
def test_the_command_of_a_column_asks_for_the_same_column(words: list[str], outages: list[str]) -> None:
    """Read again, its words are the variant, whatever order it was written in."""
    (variant,) = variants_of(words, outages, (), with_base=False) if words or outages else (Variant(name=ASKED),)
    given = shlex.split(variant.command(seed=3, days=1.5))
    assert given[:7] == ["meshrelay", "sim", "window", "--days", "1.5", "--seed", "3"]
    again = {
        option: [value for name, value in pairwise(given) if name == option] for option in ("--set", "--outage")
    }  # fmt: skip
    if words or outages:
        assert variants_of(again["--set"], again["--outage"], (), with_base="--no-base" not in given) == [variant]
    else:
        assert "--no-base" not in given
