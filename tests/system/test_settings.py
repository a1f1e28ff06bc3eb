"""Settings: every wrong value is refused before anything starts, by its variable's name, and no secret is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from system.event import RetentionClass
from system.settings import Settings, SettingsInvalid, load_settings, shown

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets counts."""
    for name in [name for name in os.environ if name.startswith("MESHRELAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MESHRELAY_JWT_HS256_SECRET", SECRET)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """Settings from an environment."""
    for name, value in variables.items():
        monkeypatch.setenv(f"MESHRELAY_{name}", value)
    return load_settings()


POSITIVE = [
    "RETENTION_CRITICAL_S", "RETENTION_STANDARD_S", "DEAD_LETTER_RETENTION_S", "SWEEP_INTERVAL_S", "STREAM_MAX_AGE_S",
    "DEDUPE_WINDOW_S", "LEASE_S", "REDISPATCH_AFTER_S", "HEARTBEAT_S", "BOOKMARK_S", "TAIL_POLL_S", "REQUEST_TIMEOUT_S",
    "SLOW_CLIENT_TIMEOUT_S", "KEEP_ALIVE_S", "PUBLISH_TIMEOUT_S", "DATABASE_TIMEOUT_S", "DRAIN_DEADLINE_S",
    "READY_AFTER_SILENCE_S",
]  # fmt: skip
WRONG = [
    *((name, value) for name in POSITIVE for value in ("0", "-1", "inf", "nan", "1e18", "ten", "")),
    *((name, "0.05") for name in ("STREAM_MAX_AGE_S", "DEDUPE_WINDOW_S")),
    *((name, value) for name in ("SWEEP_PAUSE_S", "JWT_LEEWAY_S") for value in ("-1", "inf", "nan", "x", "1e9")),
    *(("HTTP_PORT", value) for value in ("-1", "65536", "http", "80.5")),
    *(("STREAM_REPLICAS", value) for value in ("0", "6")),
    *(("WRITER_BATCH", value) for value in ("0", "10001")),
    *(("REDISPATCH_MAX", value) for value in ("-1", "101")),
    *(("EVENT_BYTES_MAX", value) for value in ("1023", "99999999")),
    *((name, "0") for name in ("RETRY_MIN_MS", "RETRY_MAX_MS", "TAIL_ROWS", "HUB_WINDOW_EVENTS", "HUB_WINDOW_BYTES")),
    *((name, "0") for name in ("PAGE_ROWS", "PAGE_BYTES", "REPLAYS_MAX", "SESSIONS_MAX", "SESSIONS_PER_AGENT_MAX")),
    *((name, "0") for name in ("CONNECTIONS_MAX", "PUBLISHES_MAX", "BATCH_EVENTS_MAX", "BODY_BYTES_MAX")),
    *((name, "0") for name in ("SLOW_CLIENT_BYTES", "DATABASE_POOL_MAX")),
    ("STREAM_MAX_BYTES", "-2"),
    ("HTTP_HOST", ""),
    ("STREAM", "two words"),
    ("STREAM", "a.b"),
    ("STREAM", ""),
    ("JWT_HS256_SECRET", "x" * 31),
    ("JWT_HS256_SECRET", ""),
    ("LOG_FORMAT", "xml"),
    ("LOG_LEVEL", "loud"),
    ("ALLOW_QUERY_TOKEN", "perhaps"),
    ("ALLOW_UNSAFE_STORAGE", "2"),
    ("NATS_URL", "localhost"),
    ("NATS_URL", "127.0.0.1:4222"),
    ("NATS_URL", "http://host:4222"),
    ("NATS_URL", "nats://host:99999"),
    ("NATS_URL", "nats://host:port"),
    ("NATS_URL", "nats://[::1"),
    ("NATS_URL", ""),
    ("NATS_MONITOR_URL", "nats://host:8222"),
    ("JWKS_URL", "file:///keys.json"),
    ("JWKS_URL", "https:///keys"),
    ("POSTGRES_DSN", "host=localhost"),
    ("POSTGRES_DSN", "mysql://u:p@h/d"),
    ("POSTGRES_DSN", "postgresql://u:p@h:99999/d"),
    ("CRITICAL_TYPES", "task.assigned,Task.Created"),
    ("CRITICAL_TYPES", "task.assigned;task.created"),
    ("CRITICAL_TYPES", "relay.close"),
    ("CORS_ORIGINS", "app.example"),
    ("CORS_ORIGINS", "https://app.example/"),
    ("CORS_ORIGINS", "https://app.example/path"),
    ("CORS_ORIGINS", "https://*.example"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Each wrong value stops the start; the message is one line, with the variable and what was expected.

    Infinity and values beyond ten years used to pass, and then made Postgres refuse the lease's or the sweep's
    interval for ever; a type in capitals made a critical class that nothing belongs to.
    """
    with pytest.raises(SettingsInvalid) as refused:
        load(monkeypatch, **{name: value})
    line = str(refused.value)
    assert line.startswith(f"MESHRELAY_{name}: ")
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RETRY_MIN_MS": "10", "RETRY_MAX_MS": "9"}, "RETRY_MIN_MS <= RETRY_MAX_MS"),
        ({"STREAM_MAX_AGE_S": "60", "DEDUPE_WINDOW_S": "60"}, "STREAM_MAX_AGE_S above DEDUPE_WINDOW_S"),
        ({"BODY_BYTES_MAX": "2048", "EVENT_BYTES_MAX": "4096"}, "BODY_BYTES_MAX >= EVENT_BYTES_MAX"),
        ({"TRANSPORT": "jetstream", "EXPIRY_MARGIN_S": "86401"}, "STREAM_MAX_AGE_S >= RETENTION_CRITICAL_S"),
        ({"TRANSPORT": "jetstream", "EXPIRY_MARGIN_S": "200"}, "SWEEP_INTERVAL_S well below half of EXPIRY_MARGIN_S"),
        ({"RETENTION_STANDARD_S": "5", "RETENTION_CRITICAL_S": "4"}, "RETENTION_STANDARD_S <= RETENTION_CRITICAL_S"),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    """Values that are possible alone but not together are refused, both named."""
    with pytest.raises(SettingsInvalid, match=said):
        load(monkeypatch, **variables)


def test_without_a_key_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that could check no token is refused, and told both ways to give it a key; one way is enough."""
    monkeypatch.delenv("MESHRELAY_JWT_HS256_SECRET")
    with pytest.raises(SettingsInvalid, match="JWT_HS256_SECRET or JWKS_URL"):
        load_settings()
    assert load(monkeypatch, JWKS_URL="https://issuer.example/keys").jwt_hs256_secret is None


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start tells all mistakes, a line each."""
    with pytest.raises(SettingsInvalid) as refused:
        load(monkeypatch, LEASE_S="0", HTTP_PORT="x", LOG_LEVEL="loud")
    assert sorted(line.partition(":")[0] for line in str(refused.value).splitlines()) == [
        "MESHRELAY_HTTP_PORT",
        "MESHRELAY_LEASE_S",
        "MESHRELAY_LOG_LEVEL",
    ]


def test_a_misspelt_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is nearly spelt right would be passed over, and its default hold at night: it's refused, with the
    name that was meant. What is nobody's setting, or another's, is left alone.
    """
    secret = {"JWT_HS256_SECRET": "s" * 32}
    load(monkeypatch, **secret, PORT="tcp://10.0.0.1:8080", SERVICE_HOST="10.0.0.1", URL="http://relay", TOKEN="t")
    with pytest.raises(SettingsInvalid) as refused:
        load(monkeypatch, **secret, RETENTION_CRITCAL_S="60", LEASE_S="0")
    lines = str(refused.value).splitlines()
    assert lines[0] == "MESHRELAY_RETENTION_CRITCAL_S: no such setting; did you mean MESHRELAY_RETENTION_CRITICAL_S?"
    assert lines[1].startswith("MESHRELAY_LEASE_S: ")
    with pytest.raises(SettingsInvalid, match="did you mean MESHRELAY_LEASE_S"):
        load(monkeypatch, **secret, LEASES_S="10", RETENTION_CRITICAL_S="60000")


def test_the_defaults_are_those_of_the_design() -> None:
    """Seven days and 24 hours; the three task types are critical; everything within its limits."""
    settings = load_settings()
    assert settings.retention_s(RetentionClass.CRITICAL) == 604_800
    assert settings.retention_s(RetentionClass.STANDARD) == 86_400
    assert settings.critical_types == {"task.assigned", "task.created", "task.mentioned"}
    assert settings.stream_limits()["dedupe_window_s"] == 120
    assert settings.stream_max_age_s > settings.retention_critical_s


def test_the_stream_keeps_more_where_sessions_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transport jetstream: repeats are known for the longest retention; only standard events say how long they live,
    retention and margin in whole seconds, if the stream takes that; the other transport asks for nothing.
    """
    settings = load(monkeypatch, TRANSPORT="jetstream", EXPIRY_MARGIN_S="4000", RETENTION_STANDARD_S="10.5")
    assert settings.stream_limits()["dedupe_window_s"] == 604_800
    assert settings.stream_limits()["allow_msg_ttl"] is True
    rule = settings.ttl_rule(allowed=True)
    assert (rule("note.made"), rule("task.assigned")) == (4_011, None)
    assert settings.ttl_rule(allowed=False)("note.made") is None
    other = load(monkeypatch, TRANSPORT="cursor")
    assert "allow_msg_ttl" not in other.stream_limits()
    assert other.ttl_rule(allowed=True)("note.made") is None


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces around the parts of a list and empty parts don't count."""
    settings = load(monkeypatch, CRITICAL_TYPES=" task.assigned , alarm,", CORS_ORIGINS="https://a.example:8443,*")
    assert settings.critical_types == {"task.assigned", "alarm"}
    assert settings.cors_origins == {"https://a.example:8443", "*"}


def test_addresses_that_are_right_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6, credentials, TLS and Unix sockets are all addresses."""
    settings = load(
        monkeypatch,
        NATS_URL="tls://user:word@[::1]:4222",
        NATS_MONITOR_URL="http://host:8222",
        POSTGRES_DSN="postgres:///db?host=/run/postgresql",
    )
    assert settings.nats_url == "tls://user:word@[::1]:4222"


HIDDEN = {
    "JWT_HS256_SECRET": "hunter2-too-short",
    "POSTGRES_DSN": "mysql://joe:hunter2@h/d",
    "NATS_URL": "http://joe:hunter2@h",
    "JWKS_URL": "ftp:joe:hunter2@h",
}


@pytest.mark.parametrize(("name", "value"), HIDDEN.items())
def test_no_message_shows_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A start that fails writes no password into a log, wherever in the value it stands.

    The password within NATS's address was printed, by the message and by --check-config.
    """
    with pytest.raises(SettingsInvalid, match=f"MESHRELAY_{name}") as refused:
        load(monkeypatch, **{name: value})
    assert "hunter2" not in str(refused.value)


def test_what_is_shown_of_good_settings_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """All settings can be printed: secrets as asterisks, addresses without passwords."""
    settings = load(
        monkeypatch,
        NATS_URL="nats://joe:hunter2@host:4222",
        POSTGRES_DSN="postgresql://joe:hunter2@h/d",
        JWKS_URL="https://joe:hunter2@host/keys?x=1",
    )
    values: dict[str, Any] = settings.model_dump()
    lines = {name: shown(name, value) for name, value in values.items()}
    assert not any("hunter2" in line or SECRET in line for line in lines.values())
    assert lines["nats_url"] == "nats://**********@host:4222"
    assert lines["jwks_url"] == "https://**********@host/keys?x=1"
    assert (lines["lease_s"], lines["jwt_audience"]) == ("30.0", "")
    assert lines["critical_types"] == "task.assigned,task.created,task.mentioned"


def check_config(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHRELAY_")}
    return subprocess.run(
        [sys.executable, "-m", "meshrelay", "serve", "--check-config"],
        env=kept | {f"MESHRELAY_{name}": value for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_config_prints_good_settings_and_stops() -> None:
    """Good settings: every value on its line, as the environment would have it, exit code 0, nothing started."""
    done = check_config(JWT_HS256_SECRET=SECRET, LEASE_S="7", NATS_URL="nats://joe:hunter2@h:1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "MESHRELAY_LEASE_S=7.0" in lines
    assert len(lines) == len(Settings.model_fields)
    assert "valid" in done.stderr
    assert SECRET not in done.stdout
    assert "hunter2" not in done.stdout


def test_check_config_refuses_wrong_settings() -> None:
    """Wrong settings: each by name on standard error, exit code 2, no traceback."""
    done = check_config(LEASE_S="0", HTTP_PORT="99999")
    assert (done.returncode, done.stdout) == (2, "")
    assert "MESHRELAY_LEASE_S: " in done.stderr
    assert "MESHRELAY_HTTP_PORT: " in done.stderr
    assert "Traceback" not in done.stderr
