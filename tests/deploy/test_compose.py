"""docker-compose.yml as Docker reads it: it loads, what is wrong would be told, and it is pinned and locked up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from faults.stack import binaries, toxiproxy_build
from tests.deploy import parts
from tests.deploy.image import stages

DEVELOPMENT = "for-development-only"
SECRETS = {
    "POSTGRES_PASSWORD": "a-password-of-ours",
    "MESHRELAY_JWT_HS256_SECRET": "0123456789abcdef0123456789abcdef",
    "GRAFANA_PASSWORD": "another-password",
}
CORE = {"nats", "postgres", "toxiproxy", "relay-1", "relay-2"}
OURS = {"relay-1": parts.ROOT, "relay-2": parts.ROOT, "toxiproxy": parts.ROOT / "deploy" / "toxiproxy"}
"""Services whose image is built here, by the folder of its Dockerfile."""


@pytest.mark.parametrize(
    ("profiles", "more"),
    [
        ((), set()),
        (("redis",), {"redis"}),
        (("observability",), {"prometheus", "grafana"}),
        (("redis", "observability"), {"redis", "prometheus", "grafana"}),
    ],
)
def test_each_profile_loads_and_adds_its_services(profiles: tuple[str, ...], more: set[str]) -> None:
    """With any choice of profiles the project is whole: no service depends on one that is left out."""
    assert set(parts.loaded(profiles=profiles)["services"]) == CORE | more


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("restart: unless-stopped", "restrt: unless-stopped", "restrt"),
        ("condition: service_healthy", "condition: service_fine", "service_fine|condition"),
        ("networks: [servers, edge]", "networks: [servers, elsewhere]", "undefined network elsewhere"),
        ("nats:/data", "natz:/data", "undefined volume natz"),
        ("toxiproxy: {condition", "toxi: {condition", "undefined service .?toxi"),
        ("source: nats,", "source: natz,", "undefined config natz"),
        ("${POSTGRES_PASSWORD:-", "${POSTGRES_PASSWORD:", "invalid interpolation"),
        ("127.0.0.1:14222:4222", "127.0.0.1:14222:port", "port"),
        ("stop_grace_period: 30s", "stop_grace_period: soon", "soon"),
        ("profiles: [observability]\n    image: prom", "profiles: [redis]\n    image: prom", "prometheus"),
    ],
)
def test_what_is_wrong_with_a_project_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    """The loader refuses keys that Docker does not know, names that nothing defines, and values it can't read."""
    text = parts.COMPOSE.read_text()
    assert old in text
    (tmp_path / "docker-compose.yml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=told):
        parts.loaded(tmp_path / "docker-compose.yml", profiles=("observability",))


def test_every_secret_comes_from_the_environment() -> None:
    """With the three secrets given, nothing of the development's defaults is left, also not within an address."""
    assert DEVELOPMENT in json.dumps(parts.loaded())
    given = json.dumps(parts.loaded(env=SECRETS))
    assert DEVELOPMENT not in given
    for secret in SECRETS.values():
        assert secret in given


def test_the_relay_takes_further_settings_from_a_file(tmp_path: Path) -> None:
    """What RELAY_ENV_FILE names reaches every replica; what leads through the proxies can't be changed by it."""
    file = tmp_path / "plan.env"
    file.write_text("MESHRELAY_LEASE_S=7\nMESHRELAY_NATS_URL=nats://nats:4222\n")
    services = parts.loaded(env={"RELAY_ENV_FILE": str(file)})["services"]
    for name in ("relay-1", "relay-2"):
        assert services[name]["environment"]["MESHRELAY_LEASE_S"] == "7"
        assert "toxiproxy" in services[name]["environment"]["MESHRELAY_NATS_URL"]


def test_every_image_is_pinned(services: dict[str, dict[str, Any]]) -> None:
    """Every image has a version down to its last number; of a distribution's base image its release is enough."""
    pulled = {name: one["image"] for name, one in services.items() if "build" not in one}
    assert set(pulled) == {"nats", "postgres", "redis", "prometheus", "grafana"}
    bases = [stage.base for folder in set(OURS.values()) for stage in stages(folder)]
    assert len(bases) == 4
    two_numbers = ("postgres", "alpine")
    for image in [*pulled.values(), *bases]:
        numbers = 2 if image.split(":")[0] in two_numbers else 3
        assert re.fullmatch(rf"[\w/-]+:v?\d+(\.\d+){{{numbers - 1}}}(-[a-z][\w.-]*)?", image), image


def test_versions_are_those_of_the_embedded_stack(services: dict[str, dict[str, Any]]) -> None:
    """A container runs the version that the tests and the chaos runs are made with."""
    nats = parts.ran(binaries.nats_server(), "--version").stdout
    assert services["nats"]["image"].startswith(f"nats:{nats.split('v')[-1].strip()}-")
    postgres = parts.ran(binaries.postgres_bin(None) / "postgres", "--version").stdout.split()[2]
    assert services["postgres"]["image"].startswith(f"postgres:{postgres}-")
    assert services["toxiproxy"]["image"].endswith(f":{toxiproxy_build.VERSION}")
    (version,) = [one for stage in stages(OURS["toxiproxy"]) for one in stage.all_of("ARG")]
    assert version.value == (f"VERSION={toxiproxy_build.VERSION}",)
    major, minor, patch = parts.PROMTOOL.version.split(".")
    assert services["prometheus"]["image"] == f"prom/prometheus:v3.{int(minor) - 300}.{patch}", major


def test_ports_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    """No port is open to the network, and no two are the same: the rest of the machine's people see nothing."""
    published = [port for one in services.values() for port in one.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    numbers = [port["published"] for port in published]
    assert len(set(numbers)) == len(numbers)
    assert all(10_000 <= int(number) < 32_768 for number in numbers), "below the ports of outgoing connections"


def test_every_service_is_locked_up(services: dict[str, dict[str, Any]]) -> None:
    """Read-only file systems, no capabilities, no new privileges, limits, rotated logs, a restart, a health check."""
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert "cap_add" not in one, name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in one, name
        assert one["restart"] == "unless-stopped", name
        limits = one["deploy"]["resources"]["limits"]
        assert limits["cpus"] > 0, name
        assert int(limits["memory"]) >= 256 * 1024**2, name
        assert limits["pids"] > 0, name
        assert {"max-size", "max-file"} <= set(one["logging"]["options"]), name
        of_image = name in OURS and stages(OURS[name])[-1].healthcheck
        assert of_image or one["healthcheck"]["test"][0] == "CMD", name


def test_what_a_container_writes_has_a_place(services: dict[str, dict[str, Any]]) -> None:
    """The servers that keep data have a volume of their own; nothing is mounted from the project writable."""
    volumes = [mount for one in services.values() for mount in one.get("volumes", [])]
    kept = [mount["source"] for mount in volumes if mount["type"] == "volume"]
    assert sorted(kept) == ["grafana", "nats", "postgres", "prometheus", "redis"]
    for mount in volumes:
        if mount["type"] == "bind":
            assert mount["read_only"] is True, mount
            assert mount["bind"].get("create_host_path", False) is False, mount


def test_files_that_are_mounted_exist(project: dict[str, Any]) -> None:
    """Every folder and file that a container gets from the project is there."""
    binds = [
        mount["source"]
        for one in project["services"].values()
        for mount in one.get("volumes", [])
        if mount["type"] == "bind"
    ]
    files = [one["file"] for one in project["configs"].values()]
    assert len(binds) == 3
    assert len(files) == 2
    for path in binds + files:
        assert Path(path).exists(), path
        assert parts.ROOT in Path(path).parents, path


def test_our_images_are_made_here(services: dict[str, dict[str, Any]]) -> None:
    """What has a Dockerfile here is built from it, and never pulled from a registry under the same name."""
    assert {name for name, one in services.items() if "build" in one} == set(OURS)
    for name, folder in OURS.items():
        assert Path(services[name]["build"]["context"]) == folder
        assert services[name]["pull_policy"] == "build"


def test_nobody_runs_as_root_but_nats(services: dict[str, dict[str, Any]]) -> None:
    """Every image that would run as root has another user; those of Prometheus and Grafana bring their own."""
    for name, one in services.items():
        of_image = name in OURS and stages(OURS[name])[-1].last("USER")[0]
        assert one.get("user") or of_image or name in {"nats", "prometheus", "grafana"}, name
        assert str(one.get("user") or of_image).split(":")[0] not in {"root", "0"}, name
