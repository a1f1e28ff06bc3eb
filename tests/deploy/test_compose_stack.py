"""The stack file for chaos runs on the compose stack says what docker-compose.yml and toxiproxy.json say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from faults.outside.choice import COMPOSE_FILE
from faults.outside.file import STEERED, StackFile
from tests.deploy import parts
from tests.deploy.test_compose import SECRETS

VERBS = {"kill": ["kill", "-s", "SIGKILL"], "stop": ["stop"], "pause": ["pause"], "resume": ["unpause"]}


@pytest.fixture(scope="module")
def stack() -> StackFile:
    """The stack file in an environment that says nothing."""
    return StackFile.load(COMPOSE_FILE, {})


def published(service: dict[str, Any]) -> dict[int, str]:
    """Where a container's ports are found on this machine."""
    return {port["target"]: f"{port['host_ip']}:{port['published']}" for port in service["ports"]}


def test_servers_and_replicas_are_where_they_are_published(
    services: dict[str, dict[str, Any]], stack: StackFile
) -> None:
    """Each address leads straight to its service, past the proxies."""
    assert stack.nats == f"nats://{published(services['nats'])[4222]}"
    assert stack.toxiproxy == published(services["toxiproxy"])[8474]
    assert stack.relays == {name: f"http://{published(services[name])[8080]}" for name in ("relay-1", "relay-2")}
    made = services["postgres"]["environment"]
    login = f"{made['POSTGRES_USER']}:{made['POSTGRES_PASSWORD']}"
    assert stack.postgres == f"postgresql://{login}@{published(services['postgres'])[5432]}/{made['POSTGRES_DB']}"
    for name in ("relay-1", "relay-2"):
        assert services[name]["environment"]["MESHRELAY_JWT_HS256_SECRET"] == stack.jwt_secret


def test_secrets_come_from_the_same_variables() -> None:
    """Who gives the compose stack another password or secret gives it to the chaos run, too."""
    stack, services = StackFile.load(COMPOSE_FILE, SECRETS), parts.loaded(env=SECRETS)["services"]
    assert stack.jwt_secret == services["relay-1"]["environment"]["MESHRELAY_JWT_HS256_SECRET"]
    assert f":{services['postgres']['environment']['POSTGRES_PASSWORD']}@" in stack.postgres


def test_proxies_are_where_toxiproxy_listens(services: dict[str, dict[str, Any]], stack: StackFile) -> None:
    """Every proxy of its configuration, at the port that leads to it."""
    ports = published(services["toxiproxy"])
    assert stack.proxies == {one["name"]: ports[int(one["listen"].rpartition(":")[2])] for one in parts.proxies()}


def test_every_process_is_steered_by_its_service_or_container(
    services: dict[str, dict[str, Any]], stack: StackFile
) -> None:
    """Each command names a service of the project, or its container by the name that Compose gives it."""
    project = stack.env["COMPOSE_PROJECT_NAME"]
    assert set(stack.processes) == set(STEERED) <= set(services)
    for name, commands in stack.processes.items():
        assert "container_name" not in services[name]
        assert commands.start == ("docker", "start", f"{project}-{name}-1")
        for step, verb in VERBS.items():
            assert getattr(commands, step) == ("docker", "compose", *verb, name)


def test_it_is_a_project_of_its_own(project: dict[str, Any], stack: StackFile) -> None:
    """`down --volumes` removes the run's own volumes, never those of whoever uses the stack otherwise."""
    assert stack.up == ("docker", "compose", "up", "--build", "--wait", "--detach")
    assert stack.down == ("docker", "compose", "down", "--volumes")
    assert stack.env["COMPOSE_PROJECT_NAME"] != project["name"]
    assert Path(stack.folder) / "docker-compose.yml" == parts.COMPOSE


def test_the_plans_settings_reach_the_replicas(tmp_path: Path, stack: StackFile) -> None:
    """The file that is written for a plan is the one that the compose file reads, and git does not see it."""
    assert stack.settings_file == stack.env["RELAY_ENV_FILE"]
    assert stack.settings_path is not None
    assert re.search(r"^out/?$", (parts.ROOT / ".gitignore").read_text(), re.M)
    settings = tmp_path / "plan.env"
    settings.write_text("# a comment\nMESHRELAY_RETENTION_CRITICAL_S=33.0\nMESHRELAY_ALLOW_UNSAFE_STORAGE=False\n")
    services = parts.loaded(env={"RELAY_ENV_FILE": str(settings)})["services"]
    assert services["relay-2"]["environment"]["MESHRELAY_RETENTION_CRITICAL_S"] == "33.0"
