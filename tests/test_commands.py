"""The commands as a person types them: `up`, `publish`, `tail`, `token`, `serve --check-config`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jwt
import psutil
import pytest

COMMAND = (sys.executable, "-m", "meshrelay")
LIMIT_S = 60.0
NOWHERE = "http://127.0.0.1:1"


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
    assert "TokenRefused" not in done.stderr


def test_publish_says_what_is_missing() -> None:
    """Without an addressee or a file it is a usage error, before any connection."""
    done = run("publish")
    assert done.returncode == 2
    assert "--to AGENT or --file FILE" in done.stderr


def test_without_a_token_nothing_is_tried() -> None:
    """`publish` and `tail` say how one is given."""
    for words in (("publish", "--to", "alice"), ("tail", "alice")):
        done = run(*words)
        assert done.returncode == 2
        assert "expected a token, got none; set MESHRELAY_TOKEN or give --token" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tail", "alice", "--from", "yesterday"), "expected earliest, now, acked or a cursor such as abc234-1042"),
        (("tail", "a b"), "1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit, got 'a b'"),
        (("up", "--agent", "a b/*"), "1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit, got 'a b/*'"),
    ],
)
def test_words_are_checked_before_anything_is_done(words: tuple[str, ...], says: str) -> None:
    """Where a stream begins and whose it is: refused without a relay."""
    done = run(*words, env={"MESHRELAY_TOKEN": "t", "MESHRELAY_URL": NOWHERE})
    assert done.returncode == 2
    assert says in done.stderr


def test_publish_says_that_it_retries_and_why() -> None:
    """A relay that is not there: in words, and at once."""
    done = run("publish", "--to", "a", "--id", "e", "--token", "t", "--url", NOWHERE, "--give-up-after", "0.5")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first == f"-- e: no answer from {NOWHERE}: connection refused; retrying with the same id for up to 0.5 s"
    assert last == f"unknown: e: no answer from {NOWHERE}: connection refused"


def test_tail_says_why_it_is_not_connected() -> None:
    """And goes on trying until it is ended."""
    command = [*COMMAND, "tail", "alice", "--token", "t", "--url", NOWHERE, "--from", "now"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"-- no answer from {NOWHERE}: connection refused\n"
            assert process.stdout.readline().startswith("-- reconnecting in ")
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_up_says_that_its_port_is_taken() -> None:
    """Before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", "--port", str(port))
    assert done.returncode == 4
    assert f"--port: expected a free port, got {port}, which can't be had (address already in use)" in done.stderr


@pytest.mark.stack
def test_what_up_prints_can_be_pasted() -> None:
    """On a terminal of 80 columns: every line is whole, and nothing stands around it."""
    env = os.environ | {"COLUMNS": "80"}
    with subprocess.Popen([*COMMAND, "up", "--agent", "bob"], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C ends"):
                break
        process.send_signal(signal.SIGINT)
    tokens = [line.removeprefix("export MESHRELAY_TOKEN=") for line in lines if "MESHRELAY_TOKEN=" in line]
    claims = [jwt.decode(token.strip(), options={"verify_signature": False}) for token in tokens]
    assert [(one["sub"], one["scope"]) for one in claims] == [("bob", "stream"), ("publisher", "publish")]
    assert any(line.startswith("curl -N ") and line.endswith("/v1/agents/bob/events\n") for line in lines)


def test_the_relays_own_commands_import_no_more_than_they_need() -> None:
    """Whoever types `tail` waits for no simulator; other words get everything."""
    told = "import sys, meshrelay; meshrelay.command([{!r}]); print(*{{'sim', 'faults', 'reports'}} & set(sys.modules))"
    for word in ("tail", "publish", "token", "serve"):
        assert _python(told.format(word)).stdout == "\n"
    assert sorted(_python(told.format("up")).stdout.split()) == ["faults", "reports", "sim"]


def test_ctrl_c_while_modules_are_loaded_is_no_traceback() -> None:
    """It comes in the middle of an import."""
    done = _python(
        """
        import builtins, os, signal, sys
        import meshrelay
        load = builtins.__import__
        def interrupted(name, *rest):
            if name == "sim.cli":
                os.kill(os.getpid(), signal.SIGINT)
            return load(name, *rest)
        builtins.__import__ = interrupted
        sys.argv[1:] = ["sim", "run"]
        meshrelay.main()
        """
    )
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "")


def _python(text: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    words = [sys.executable, "-c", textwrap.dedent(text)]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_token_needs_a_long_secret() -> None:
    """None, or one below 32 bytes, is refused with what came; a good one makes a token of three parts."""
    for words, came in (((), "none"), (("--secret", "short"), "one of 5 bytes")):
        done = run("token", "alice", *words)
        assert done.returncode == 2
        assert f"of at least 32 bytes, got {came}; set MESHRELAY_JWT_HS256_SECRET or give --secret" in done.stderr
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
