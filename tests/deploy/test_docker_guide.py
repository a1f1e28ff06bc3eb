"""What the guide says of Docker: its commands exist, its ports are published, its files are there."""

from __future__ import annotations

import re
from typing import Any

from tests.deploy import parts
from tests.deploy.test_workflow import calls, check_call

GUIDE = parts.ROOT / "docs" / "running-the-relay.md"
TEXT = GUIDE.read_text()
SECTION = TEXT.partition("\n## With Docker\n")[2].partition("\n## ")[0]


def test_its_commands_exist() -> None:
    """Each command of the section is one of Docker's with our profiles, or meshrelay's with options that exist."""
    script = "\n".join(line.removeprefix("$ ") for line in SECTION.splitlines() if line.startswith("$ "))
    found = calls(script)
    assert len(found) == 6
    for words in found:
        check_call(words)
    assert set(re.findall(r"--profile (\w+)", SECTION)) == set(parts.PROFILES)


def test_its_ports_are_the_published_ones(services: dict[str, dict[str, Any]]) -> None:
    """Every published port is told, with *n* for a replica's number, and no other one."""
    published = {port["published"] for one in services.values() for port in one.get("ports", [])}
    told = set(re.findall(r"\b[12]\d{4}\b", SECTION))
    for family in re.findall(r"\b([12]\d{3})\*n\*", SECTION):
        told |= {f"{family}1", f"{family}2"}
    assert told == published


def test_its_names_are_those_of_the_files(services: dict[str, dict[str, Any]]) -> None:
    """Links lead to files, the secret is the default one, and the variables are those that the compose file reads."""
    links = re.findall(r"\]\(([^)]+)\)", SECTION)
    assert len(links) == 4
    assert all((GUIDE.parent / link).exists() for link in links)
    secret = services["relay-1"]["environment"]["MESHRELAY_JWT_HS256_SECRET"]
    assert f"MESHRELAY_JWT_HS256_SECRET={secret}" in SECTION
    read = set(re.findall(r"\$\{(\w+)", parts.COMPOSE.read_text()))
    assert read == {"POSTGRES_PASSWORD", "MESHRELAY_JWT_HS256_SECRET", "GRAFANA_PASSWORD", "RELAY_ENV_FILE"}
    assert all(f"`{name}`" in SECTION for name in read)
    for proxy in re.findall(r"/proxies/([\w.-]+)", SECTION):
        assert proxy in {one["name"] for one in parts.proxies()}
