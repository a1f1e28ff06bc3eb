"""The alerts, by Prometheus's own tool: each fires where it should, is silent at a near miss, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from system.settings import Settings
from tests.deploy import parts
from tests.deploy.promql import asked

PROMETHEUS = parts.ROOT / "deploy" / "prometheus"
TESTS = Path(__file__).with_name("alerts_test.yml")
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """The real tool finds the configuration and its rules valid, without a warning; it would say what is wrong."""
    done = parts.ran(
        parts.PROMTOOL, "check", "config", "--lint=all", "--lint-fatal", str(PROMETHEUS / "prometheus.yml")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    wrong = (PROMETHEUS / "prometheus.yml").read_text().replace("static_configs", "static_config", 1)
    (tmp_path / "prometheus.yml").write_text(wrong)
    done = parts.ran(parts.PROMTOOL, "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode != 0
    assert "static_config" in done.stderr


def test_every_alert_fires_and_keeps_silent_where_it_should() -> None:
    """The tool plays every story of alerts_test.yml, and exactly the alerts fire that a story names."""
    done = parts.ran(parts.PROMTOOL, "test", "rules", str(TESTS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_no_alert_is_without_its_two_stories() -> None:
    """Each alert has a story in which it alone fires, not before its time, and one in which nothing does."""
    stories = {story["name"].partition(":")[0]: story for story in yaml.safe_load(TESTS.read_text())["tests"]}
    assert set(stories) == {f"{name} {end}" for name in NAMES for end in ("fires", "is silent")}
    for rule in RULES:
        *before, looked = stories[f"{rule['alert']} fires"]["promql_expr_test"]
        assert [one["exp_samples"] for one in before] == ([[]] if "for" in rule else [])
        assert looked["expr"] == 'ALERTS{alertstate="firing"}'
        (sample,) = looked["exp_samples"]
        assert f'alertname="{rule["alert"]}"' in sample["labels"]
        assert f'severity="{rule["labels"]["severity"]}"' in sample["labels"]
        (looked,) = stories[f"{rule['alert']} is silent"]["promql_expr_test"]
        assert looked["expr"] == 'ALERTS{alertstate="firing"}'
        assert looked["exp_samples"] == []
        series = {one["series"].partition("{")[0] for one in stories[f"{rule['alert']} is silent"]["input_series"]}
        assert {one.metric for one in asked(rule["expr"])} <= series, "a near miss has what the alert looks at"


BREAKS: dict[str, tuple[dict[str, str], int]] = {
    "never": ({"expr": "vector(0) > 0", "for": "0s"}, 1),
    "always": ({"expr": "vector(1)", "for": "0s"}, 2),
    "at once": ({"for": "0s"}, 1),
}
"""Ways to break a rule, and in how many looks of its stories each must show."""


@pytest.mark.parametrize(("changed", "failing"), BREAKS.values(), ids=BREAKS)
def test_broken_alerts_are_noticed(tmp_path: Path, changed: dict[str, str], failing: int) -> None:
    """Alerts that never fire, always fire, or fire too early fail the stories that say otherwise, every one of them."""
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    broken = [rule for rule in rules["groups"][0]["rules"] if "expr" in changed or "for" in rule]
    for rule in broken:
        rule |= changed
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    stories = yaml.safe_load(TESTS.read_text()) | {"rule_files": ["alerts.yml"]}
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(stories))
    done = parts.ran(parts.PROMTOOL, "test", "rules", str(tmp_path / "alerts_test.yml"))
    assert done.returncode != 0
    assert done.stderr.count("exp:") >= failing * len(broken)
    fired = re.findall(r"exp: nil\s+got: (.*)", done.stderr)
    if "expr" not in changed:
        assert {rule["alert"] for rule in broken} <= set(re.findall(r'alertname="(\w+)"', " ".join(fired)))


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_says_what_it_means_and_what_to_look_at(rule: dict[str, Any]) -> None:
    """It has a severity, a summary and a description; labels and settings that these name exist."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    text = " ".join(rule["annotations"].values())
    labels = frozenset[str]().union(*(one.labels for one in asked(rule["expr"])))
    kept = {"instance"} if rule["expr"].startswith("up") else set()
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels | kept
    for name in re.findall(r"MESHRELAY_([A-Z_]+)", text):
        assert name.lower() in Settings.model_fields, name
