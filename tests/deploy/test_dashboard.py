"""The dashboard and the rest of Grafana's and Prometheus's provisioning, against what real servers show."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from faults.stack.ports import LOOPBACK
from system.metrics import Metrics
from tests.deploy import parts
from tests.deploy.promql import Asked, asked, plain
from tests.deploy.test_alerts import PROMETHEUS, RULES
from tests.deploy.uncontained import servers, start_relay

GRAFANA = parts.ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "meshrelay.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
"""Metrics that Prometheus makes by itself."""
COLUMNS = 24
PATIENCE_S = 10.0


def expressions() -> Iterator[str]:
    """Every expression of the dashboard and of the alerts."""
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])
    yield from (rule["expr"] for rule in RULES)


def missing(shown: dict[str, set[str]], wanted: Iterator[Asked]) -> list[str]:
    """What is asked for and not shown: a metric, or a label of one."""
    of_a_target = {"job", "instance"}
    found = []
    for one in wanted:
        if one.metric not in shown:
            found.append(one.metric)
        else:
            found += [f"{one.metric}{{{label}}}" for label in sorted(one.labels - shown[one.metric] - of_a_target)]
    return found


def shown_by(text: str, registry: CollectorRegistry | None) -> dict[str, set[str]]:
    """The sample names of a metrics page with their labels; of those without a sample yet, the registry's word."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if not family.samples and family.type == "counter":
            found.setdefault(f"{family.name}_total", set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for collector in list(registry._collector_to_names) if registry is not None else []:
        names = getattr(collector, "_labelnames", ())
        if names:
            name = f"{collector._name}_total"  # type: ignore[attr-defined]
            assert name in found, f"{name} is registered, and its page does not have it"
            found[name].update(names)
    return found


@pytest.mark.stack
async def test_every_metric_that_is_asked_for_is_shown(services: dict[str, dict[str, Any]]) -> None:
    """Each metric and label of the dashboard and the alerts is on the page of a running relay, or of Toxiproxy."""
    async with servers(services) as stack, httpx.AsyncClient(timeout=10) as http:
        relay = start_relay(stack, "relay-1")
        await relay.wait_ready()
        page = (await http.get(f"http://{LOOPBACK}:{stack.port('relay-1', 8080)}/metrics")).raise_for_status().text
        async with httpx.AsyncClient(timeout=10) as short:  # Toxiproxy counts a connection when it ends
            await short.get(f"http://{LOOPBACK}:{stack.port('toxiproxy', 28081)}/healthz")
        proxied = await _once_counted(http, f"http://{LOOPBACK}:{stack.port('toxiproxy', 8474)}/metrics")
        shown = shown_by(page, Metrics().registry) | shown_by(proxied, None) | OF_PROMETHEUS
    wanted = [one for expression in expressions() for one in asked(expression)]
    assert len({one.metric for one in wanted}) > 25
    assert missing(shown, iter(wanted)) == []
    planted = [*asked("sum by (resaon) (rate(sse_cursor_410_total[1m]))"), *asked("relay_writer_lag_mesages")]
    assert missing(shown, iter(planted)) == ["sse_cursor_410_total{resaon}", "relay_writer_lag_mesages"]


async def _once_counted(http: httpx.AsyncClient, url: str) -> str:
    """Toxiproxy's page once it has counted a connection, or as it is when that takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        text = (await http.get(url)).raise_for_status().text
        if "toxiproxy_proxy_received_bytes_total{" in text or time.monotonic() > deadline:
            return text
        await asyncio.sleep(0.05)


def test_prometheus_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """Prometheus's own parser takes each of them, with what Grafana fills in; it would refuse a wrong one."""
    all_of_them = [plain(target["expr"]) for panel in PANELS for target in panel["targets"]]
    for more, good in (([], True), (["sum(rate(sse_sessions)"], False), (["rate(sse_sessions)"], False)):
        rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(all_of_them + more)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        done = parts.ran(parts.PROMTOOL, "check", "rules", str(tmp_path / "rules.yml"))
        assert (done.returncode == 0) is good, done.stderr


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2")  # files are provisioned in the classic form
def test_the_dashboard_is_one_to_grafana() -> None:
    """Grafana's own types hold all of it: what they did not know would be lost on the way through them."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    through = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, through) == []
    wrong = DASHBOARD | {"titel": "x"}
    assert lost(wrong, json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(wrong)))) == ["/titel"]


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """The paths of what is in the first document and not, or different, in the second."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{path}/{key}" for key in before if key not in after]
        return gone + [one for key in before if key in after for one in lost(before[key], after[key], f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [one for number, (old, new) in pairs for one in lost(old, new, f"{path}/{number}")]
    return [] if before == after else [path]


def test_panels_have_their_place_and_their_words() -> None:
    """No two panels overlap or have one id; each says what it shows, and names its lines by labels that they have."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= COLUMNS, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            labels = frozenset[str]().union(*(one.labels for one in asked(target["expr"])))
            if "sum" not in target["expr"]:
                labels |= {"instance"}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]


def test_grafana_finds_its_prometheus_and_its_dashboards(services: dict[str, dict[str, Any]]) -> None:
    """The data source is Prometheus's service, every panel uses it, and the dashboards are where they are mounted."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == f"http://prometheus:{services['prometheus']['ports'][0]['target']}"
    used = {"type": source["type"], "uid": source["uid"]}
    assert all(panel["datasource"] == used for panel in PANELS)
    assert all(target["datasource"] == used for panel in PANELS for target in panel["targets"])
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "meshrelay.yml").read_text())["providers"]
    mounts = {mount["target"]: mount["source"] for mount in services["grafana"]["volumes"] if mount["type"] == "bind"}
    assert mounts[provider["options"]["path"]] == str(GRAFANA / "dashboards")
    assert mounts["/etc/grafana/provisioning"] == str(GRAFANA / "provisioning")


def test_grafana_keeps_the_plugins_that_it_came_with(services: dict[str, dict[str, Any]]) -> None:
    """On a read-only file system Grafana must not try to renew its bundled plugins, nor ask anybody about updates."""
    assert services["grafana"]["read_only"] is True
    given = services["grafana"]["environment"]
    assert given["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    asking = {name for name in given if name.startswith("GF_ANALYTICS_")}
    assert {given[name] for name in asking} == {"false"}


def test_prometheus_asks_servers_that_are_there(services: dict[str, dict[str, Any]]) -> None:
    """Every target is a service's port; all replicas are among them, and the configuration is where it is mounted."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    replicas = [name for name in services if name.startswith("relay-")]
    assert jobs["relay"] == [f"{name}:8080" for name in sorted(replicas)]
    for target in [*jobs["relay"], *jobs["toxiproxy"]]:
        name, _, port = target.partition(":")
        assert int(port) in {one["target"] for one in services[name]["ports"]}, target
    (mount,) = [one for one in services["prometheus"]["volumes"] if one["type"] == "bind"]
    assert (mount["source"], mount["target"]) == (str(PROMETHEUS), "/etc/prometheus")
    assert "command" not in services["prometheus"] or services["prometheus"]["command"] is None
