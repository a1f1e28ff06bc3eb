"""The commands as a person types them: `up`, `publish`, `tail`, `token`, `serve --check-config`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = (sys.executable, "-m", "meshrelay")
LIMIT_S = 60.0


def run(*words: str, env: dict[str, str] | None = None, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MESHRELAY_")}
    return subprocess.run(
        [*COMMAND, *words],
        env=plain | (env or {}),
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def at() -> Iterator[dict[str, str]]:
    """What `meshrelay up` printed; it is ended by Ctrl-C, and must leave nothing behind."""
    process = subprocess.Popen([*COMMAND, "up", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate(timeout=LIMIT_S)[1]
    yield json.loads(line)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    assert "nothing is left running" in errors
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert not Path(json.loads(line)["log"]).parent.exists()


@pytest.mark.stack
def test_publish_then_tail_then_resume(at: dict[str, str], tmp_path: Path) -> None:
    """What is published comes out of `tail`, once: a second `tail` goes on where the first one stopped."""
    publisher = {"MESHRELAY_URL": at["url"], "MESHRELAY_TOKEN": at["publisher_token"]}
    agent = {"MESHRELAY_URL": at["url"], "MESHRELAY_TOKEN": at["agent_token"]}
    for number in (1, 2):
        done = run("publish", "--to", "alice", "--data", json.dumps({"task": number}), "--json", env=publisher)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outcome"] == "acked"
    place = str(tmp_path / "alice.cursor")
    received = []
    for _ in range(2):
        done = run("tail", "alice", "-n", "1", "--json", "--state", place, env=agent)
        assert done.returncode == 0, done.stderr
        received += [json.loads(line)["data"]["task"] for line in done.stdout.splitlines()]
    assert received == [1, 2]


@pytest.mark.stack
def test_publish_reads_lines_and_refuses_them_whole(at: dict[str, str]) -> None:
    """One bad line among good ones: its number is named, and nothing at all is published."""
    publisher = {"MESHRELAY_URL": at["url"], "MESHRELAY_TOKEN": at["publisher_token"]}
    good = {"specversion": "1.0", "id": "line-1", "source": "/t", "type": "note.posted", "subject": "bob"}
    done = run("publish", "--file", "-", env=publisher, text=json.dumps(good) + "\n" + '{"id": 7}\n')
    assert done.returncode == 2
    assert "line 2" in done.stderr
    done = run("publish", "--file", "-", "--json", env=publisher, text=json.dumps(good) + "\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["duplicate"] is False, "the refused batch had published its good line"


@pytest.mark.stack
def test_a_foreign_token_is_refused_with_its_reason(at: dict[str, str]) -> None:
    """`tail` of another agent ends with exit code 4 and says whose token it is."""
    env = {"MESHRELAY_URL": at["url"], "MESHRELAY_TOKEN": at["agent_token"]}
    done = run("tail", "mallory", "--from", "earliest", env=env)
    assert done.returncode == 4
    assert "alice" in done.stderr


def test_publish_says_what_is_missing() -> None:
    """Without an addressee or a file it is a usage error, before any connection."""
    done = run("publish")
    assert done.returncode == 2
    assert "--to AGENT or --file FILE" in done.stderr


def test_token_needs_a_long_secret() -> None:
    """A secret below 32 bytes is refused; a good one makes a token of three parts."""
    assert run("token", "alice", "--secret", "short").returncode == 2
    done = run("token", "alice", "--secret", "s" * 32)
    assert done.returncode == 0
    assert done.stdout.count(".") == 2


def test_check_config_names_every_wrong_setting() -> None:
    """All wrong values at once, each with its variable's name; the secret itself is never shown."""
    env = {"MESHRELAY_HTTP_PORT": "99999", "MESHRELAY_LEASE_S": "-1", "MESHRELAY_JWT_HS256_SECRET": "tooshort"}
    done = run("serve", "--check-config", env=env)
    assert done.returncode == 2
    for name in env:
        assert name in done.stderr
    assert "tooshort" not in done.stderr


def test_check_config_prints_what_holds() -> None:
    """Valid settings are printed by name, with secrets hidden."""
    done = run("serve", "--check-config", env={"MESHRELAY_JWT_HS256_SECRET": "s" * 40, "MESHRELAY_LEASE_S": "7"})
    assert done.returncode == 0, done.stderr
    assert "MESHRELAY_LEASE_S=7.0" in done.stdout
    assert "s" * 40 not in done.stdout
