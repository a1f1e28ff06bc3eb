"""What the compose file says to relays and Toxiproxy, against the relay's own settings and the chaos run's links."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from faults.board import plan_settings, proxy_names
from faults.generate import main_plan
from faults.vocabulary import REPLICAS, Link
from system.settings import Settings, load_settings
from tests.deploy import parts
from tests.deploy.image import stages

PREFIX = "MESHRELAY_"
UPSTREAMS = {Link.PUBLISHER_NATS: "nats:4222", Link.RELAY_NATS: "nats:4222", Link.RELAY_POSTGRES: "postgres:5432"}


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    """A replica's settings by field: what its image sets, and over it what the compose file sets."""
    given = stages()[-1].env | service["environment"]
    return {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_gets_settings_that_exist_and_hold(services: dict[str, dict[str, Any]], replica: str) -> None:
    """Every MESHRELAY_* name is a setting's, its value passes the relay's own checks, and the storage is checked."""
    given = settings_of(services[replica])
    assert set(given) <= set(Settings.model_fields), set(given) - set(Settings.model_fields)
    settings = load_settings(**given)
    assert settings.http_host == "0.0.0.0"
    assert settings.nats_monitor_url == "http://nats:8222"
    assert not settings.allow_unsafe_storage


def test_what_a_plan_sets_is_left_to_it(services: dict[str, dict[str, Any]]) -> None:
    """No setting that a chaos plan chooses is fixed here: RELAY_ENV_FILE would not get through."""
    of_plan = {f"{PREFIX}{name}" for name in plan_settings(main_plan(7))}
    for replica in REPLICAS:
        assert not of_plan & set(services[replica]["environment"])


def test_the_proxies_are_those_that_faults_are_played_on() -> None:
    """Toxiproxy's proxies have the chaos run's names, and each leads to the server at the end of its link."""
    found = {one["name"]: one for one in parts.proxies()}
    assert len(found) == len(parts.proxies())
    assert set(found) == set(proxy_names())
    for name, (link, replica) in proxy_names().items():
        assert found[name]["upstream"] == UPSTREAMS.get(link, f"{replica}:8080"), name
        assert found[name]["enabled"] is True


def test_every_proxy_is_published_at_its_own_port(services: dict[str, dict[str, Any]]) -> None:
    """The number inside and outside is the same: what Toxiproxy says of a proxy's port holds on this machine."""
    published = {port["published"]: str(port["target"]) for port in services["toxiproxy"]["ports"]}
    assert published.pop("18474") == "8474"
    listening = [one["listen"].partition(":") for one in parts.proxies()]
    assert {host for host, _, _ in listening} == {"0.0.0.0"}
    assert published == {port: port for _, _, port in listening}


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_reaches_its_servers_by_its_own_proxies(services: dict[str, dict[str, Any]], replica: str) -> None:
    """NATS and Postgres are behind proxies that no other replica uses: a fault may hit one replica alone."""
    listen = {one["name"]: int(one["listen"].partition(":")[2]) for one in parts.proxies()}
    given = settings_of(services[replica])
    for name, link in (("nats_url", Link.RELAY_NATS), ("postgres_dsn", Link.RELAY_POSTGRES)):
        parts_of_it = urlsplit(given[name])
        assert (parts_of_it.hostname, parts_of_it.port) == ("toxiproxy", listen[f"{replica}.{link}"]), name


@pytest.mark.parametrize("replica", REPLICAS)
def test_the_password_is_the_one_that_postgres_is_made_with(services: dict[str, dict[str, Any]], replica: str) -> None:
    """User, password and database of a replica's address are those of the Postgres service, also when given."""
    for env in ({}, {"POSTGRES_PASSWORD": "a-password-of-ours"}):
        given = parts.loaded(env=env)["services"]
        made, address = given["postgres"]["environment"], urlsplit(settings_of(given[replica])["postgres_dsn"])
        assert address.username == made["POSTGRES_USER"]
        assert address.password == made["POSTGRES_PASSWORD"]
        assert address.path == f"/{made['POSTGRES_DB']}"


@pytest.mark.parametrize("replica", REPLICAS)
def test_limits_leave_room_for_the_relays_own(services: dict[str, dict[str, Any]], replica: str) -> None:
    """A container's limits lie above those of the relay itself: files, memory, time to drain, Postgres's places."""
    service, settings = services[replica], load_settings(**settings_of(services[replica]))
    assert service["ulimits"]["nofile"] > settings.connections_max + settings.database_pool_max + 100
    idle_session_bytes, process_bytes = 17_000, 150 * 1024**2
    needed = settings.hub_window_bytes + settings.sessions_max * idle_session_bytes + process_bytes
    assert int(service["deploy"]["resources"]["limits"]["memory"]) > needed
    assert seconds(service["stop_grace_period"]) > settings.drain_deadline_s
    (places,) = [word for word in services["postgres"]["command"] if word.startswith("-cmax_connections=")]
    rolling_update, people = 2, 10
    assert int(places.partition("=")[2]) >= len(REPLICAS) * settings.database_pool_max * rolling_update + people


def seconds(duration: str) -> float:
    """A duration of the compose file, such as `30s`, in s."""
    assert duration.endswith("s"), duration
    minutes, _, rest = duration[:-1].rpartition("m")
    return 60 * float(minutes or 0) + float(rest)


def test_replicas_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    """A replica starts when both servers and the proxies between are healthy."""
    for replica in REPLICAS:
        awaited = {name: one["condition"] for name, one in services[replica]["depends_on"].items()}
        assert awaited == dict.fromkeys(("nats", "postgres", "toxiproxy"), "service_healthy")


def test_servers_without_a_way_out(project: dict[str, Any]) -> None:
    """What the servers say to each other goes over a network that leads nowhere else."""
    assert project["networks"]["servers"]["internal"] is True
    assert all("servers" in one["networks"] for one in project["services"].values())
