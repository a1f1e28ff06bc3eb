"""For every plan: zero lost events whenever the reconnect gap is within retention, and told exactly when not.

Each guarantee has a property of its own name, whose plans lean on what could break it; but every run is judged by all
checkers, so that a property fails for whatever goes wrong in its plans.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from faults.plan import Plan, RelayLimits
from faults.transports import TransportName, over
from faults.vocabulary import Kill, PowerLoss, Restart
from sim.trial import try_plan
from tests.sim.strategies import CALM, SHORT, TIMES, faults, plans, process_faults, real_edges

pytestmark = pytest.mark.sim

transport: TransportName | None = None

EXAMPLES = 31
"""Of each property; ten properties play 310 plans."""
SMALL = RelayLimits(page_rows=1, tail_rows=2, writer_batch=2, hub_window_events=2, slow_client_bytes=1_024)
FORGETFUL = msgspec.structs.replace(TIMES, dedupe_window_s=1.0)
RESTLESS = msgspec.structs.replace(TIMES, lease_s=1.0, redispatch_after_s=3.0)
DEATHS = st.lists(process_faults((Kill, PowerLoss, Restart)), min_size=1, max_size=3, unique_by=lambda one: one.target)

thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # a push must not fail by chance; `meshrelay sim campaign` is what looks further
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.fixture(autouse=True)
def _transport(request: pytest.FixtureRequest) -> None:
    """Which transport `check` plays over: `pytest -m sim --transport jetstream`."""
    global transport
    named = request.config.getoption("--transport")
    transport = None if named is None else TransportName(named)


def check(plan: Plan) -> None:
    """Play a plan; nothing that was promised may be broken."""
    plan = over(plan, transport)
    trial = try_plan(plan)
    note(plan.encode().decode())
    assert not trial.is_failure, f"{trial.verdict}: {trial.reason}"


@thorough
@given(plans())
def test_main_nothing_is_lost_and_nobody_is_hushed(plan: Plan) -> None:
    """The main property, over the whole vocabulary of faults."""
    check(plan)


@thorough
@given(plans(sleeping=True, crashes=True))
def test_g1_what_is_within_retention_arrives(plan: Plan) -> None:
    """Agents sleep, crash and come back while everything is still retained."""
    check(plan)


@thorough
@given(plans(retention=SHORT, sleeping=True, given_faults=st.just(())))
def test_g2_beyond_retention_the_agent_is_told_exactly(plan: Plan) -> None:
    """Sleeps end at the edges of retention: a 410 if and only if a critical event is gone, a gap if only others are."""
    check(plan)


@thorough
@given(plans(retention=SHORT, sleeping=True, limits=SMALL, given_faults=faults(1)))
def test_g2_a_sweep_between_two_pages_is_told(plan: Plan) -> None:
    """Replays of one row a page, sweeps each half second, and a fault that stretches them."""
    check(plan)


@settings(thorough, max_examples=8)
@given(real_edges(kept_days=1))
def test_g2_at_the_edge_of_a_real_day(plan: Plan) -> None:
    """A reconnect gap of 24 h ± ε, of simulated time indeed."""
    check(plan)


@settings(thorough, max_examples=2)
@given(real_edges(kept_days=7))
def test_g2_at_the_edge_of_a_real_week(plan: Plan) -> None:
    """A reconnect gap of 7 d ± ε; the campaign's plans of weeks go on from here."""
    check(plan)


@thorough
@given(plans(limits=SMALL, crashes=True))
def test_g3_cursors_rise(plan: Plan) -> None:
    """A window of two events and pages of one: agents fall from live to replay and back all the time."""
    check(plan)


@thorough
@given(plans(repeats=True, times=FORGETFUL))
def test_g4_a_repeat_is_stored_and_delivered_once(plan: Plan) -> None:
    """Half of the events are published again, after the stream itself has forgotten their ids."""
    check(plan)


@thorough
@given(plans(sleeping=True, limits=SMALL))
def test_g5_everybody_gets_his_own(plan: Plan) -> None:
    """Agents whose names begin alike, replayed and live."""
    check(plan)


@thorough
@given(plans(times=RESTLESS, given_faults=faults(5)))
def test_g6_once_healed_everybody_catches_up(plan: Plan) -> None:
    """Many faults at once, short leases, redispatches."""
    check(plan)


@thorough
@given(plans(limits=SMALL, repeats=True, sleeping=True))
def test_g7_small_limits_cost_nothing(plan: Plan) -> None:
    """Every queue, page and window as small as it may be set: slower, never less."""
    check(plan)


@thorough
@given(plans(retention=CALM, crashes=True, repeats=True, given_faults=DEATHS.map(tuple)))
def test_g8_sudden_deaths_lose_nothing(plan: Plan) -> None:
    """Relay, NATS and Postgres are killed, lose power or restart, one after the other or all at once."""
    check(plan)
