"""Stack files are read whole or refused whole, with every problem; plans that don't fit the stack are refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from faults.board import proxy_names
from faults.outside.choice import COMPOSE_FILE, StackKind, stack_of, words_of
from faults.outside.commands import Runner
from faults.outside.file import StackFile, StackFileInvalid, address_of
from faults.outside.process import read
from faults.plan import RelayTimes, Retention, Servers
from faults.probe import Seen
from faults.stack import ProcessFailed
from faults.stack.process import status_of
from faults.vocabulary import REPLICAS
from tests.faults.conftest import chaos_app
from tests.faults.outside_stage import toml
from tests.faults.test_plan import small_plan

KEPT = Retention(critical_s=60.0, standard_s=40.0)


def sound(**changes: Any) -> dict[str, Any]:
    """The content of a stack file in which nothing is wrong."""
    return {
        "nats": "nats://127.0.0.1:4222",
        "postgres": "postgresql://somebody:secret@127.0.0.1:5432/db",
        "toxiproxy": "127.0.0.1:8474",
        "jwt_secret": "a secret",
        "relays": dict.fromkeys(REPLICAS, "http://127.0.0.1:8080"),
        "proxies": dict.fromkeys(proxy_names(), "127.0.0.1:9000"),
        "retention": {"critical_s": KEPT.critical_s, "standard_s": KEPT.standard_s},
        **changes,
    }


def loaded(tmp_path: Path, document: dict[str, Any]) -> StackFile:
    """Written as TOML and read."""
    path = tmp_path / "stack.toml"
    path.write_text(toml(document))
    return StackFile.load(path, {})


def problems(tmp_path: Path, document: dict[str, Any]) -> list[str]:
    """What is wrong with it."""
    with pytest.raises(StackFileInvalid) as raised:
        loaded(tmp_path, document)
    assert str(raised.value).count(str(tmp_path / "stack.toml")) == len(raised.value.problems)
    return raised.value.problems


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    """What it says is what is got; its folder is that of the file unless it says otherwise."""
    stack = loaded(tmp_path, sound(folder="..", processes={"nats": {"kill": ["a", "b"], "start": ["c"]}}))
    assert stack.nats_address == ("127.0.0.1", 4222)
    assert stack.proxy_address("publisher-nats") == ("127.0.0.1", 9000)
    assert stack.folder == str(tmp_path.parent.resolve())
    assert stack.commands("nats").kill == ("a", "b")
    assert stack.ground.commands == {"nats": frozenset({"kill", "start"})}
    assert stack.commands("relay-1").given() == frozenset()


def test_variables_are_those_of_the_environment(tmp_path: Path) -> None:
    """As in a compose file: a variable, a default for one that is unset or empty, a doubled dollar; else a problem."""
    path = tmp_path / "stack.toml"
    secret = 'jwt_secret = "${SECRET}-${EMPTY:-some}-$${HOME}"\n'
    path.write_text(secret + toml({name: value for name, value in sound().items() if name != "jwt_secret"}))
    assert StackFile.load(path, {"SECRET": "s", "EMPTY": ""}).jwt_secret == "s-some-${HOME}"
    with pytest.raises(StackFileInvalid, match="expected SECRET in the environment, got none"):
        StackFile.load(path, {})


def test_every_misfit_is_named(tmp_path: Path) -> None:
    """All values of a wrong shape are told at once, each with its place, what was expected and what came."""
    document = sound(toxiproxy=7, processes={"nats": {"kill": "kill -9 1", "freeze": ["a"]}}, needs=[{"command": []}])
    del document["nats"]
    document["retention"] = {"critical_s": "long", "standard_s": 40.0}
    assert problems(tmp_path, document) == [
        "nats: expected a value, got none; add it",
        "toxiproxy: expected `str`, got `int`",
        "processes.nats.freeze: expected one of kill, stop, start, pause, resume, got a name that means nothing here",
        "processes.nats.kill: expected `array | null`, got `str`",
        "retention.critical_s: expected `float`, got `str`",
        "needs[0].command: expected `array` of length >= 1, got []",
        "needs[0].install: expected a value, got none; add it",
    ]


def test_every_wrong_value_is_named(tmp_path: Path) -> None:
    """So are addresses that are none, names that are missing or mean nothing, and what contradicts itself."""
    document = sound(
        nats="127.0.0.1:4222",
        postgres="postgresql://somebody:hunter2@host-without-port/db",
        toxiproxy="http://127.0.0.1:8474",
        jwt_secret="",
        relays={"relay-1": "http://127.0.0.1:8080/", "relay-3": "http://127.0.0.1:8080"},
        processes={"redis": {"kill": ["true"]}},
        settings_file="plan.env",
    )
    del document["proxies"]["publisher-nats"]
    document["proxies"]["relay-1.relay-nats"] = "4222"
    found = problems(tmp_path, document)
    assert [one.partition(":")[0] for one in found] == [
        "nats",
        "postgres",
        "toxiproxy",
        "relays.relay-2",
        "relays.relay-3",
        "proxies.publisher-nats",
        "relays.relay-1",
        "proxies.relay-1.relay-nats",
        "processes.redis",
        "retention",
        "settings_file",
        "jwt_secret",
    ]
    assert "hunter2" not in "\n".join(found), "a password is not for logs"
    assert found[4] == "relays.relay-3: expected one of relay-1, relay-2, got 'relay-3'"
    assert found[9].endswith("got both")


def test_retention_must_be_known(tmp_path: Path) -> None:
    """Without a settings file somebody has to say what the relays run with."""
    document = sound()
    del document["retention"]
    (found,) = problems(tmp_path, document)
    assert found == "retention: expected it, or a settings_file by which each plan sets its own, got neither"


def test_what_is_no_toml_is_told(tmp_path: Path) -> None:
    """A file that can't be parsed is refused with the place."""
    path = tmp_path / "stack.toml"
    path.write_text("nats = \n")
    with pytest.raises(StackFileInvalid, match=r"expected TOML, got .*line 1"):
        StackFile.load(path, {})


@pytest.mark.parametrize("text", ["", "x", "x:y", "x:99999", "a/b:1", "user@host:1", "host:1?x"])
def test_what_is_no_address(text: str) -> None:
    """Only host:port is an address."""
    assert address_of(text) is None
    assert address_of("host:1") == ("host", 1)


def test_a_plan_must_fit_what_the_relays_run_with(tmp_path: Path) -> None:
    """Another retention, another dedupe window, other servers: each is refused, unless the plan sets its own."""
    stack = loaded(tmp_path, sound())
    plan = small_plan(retention=KEPT)
    assert stack.refuses(plan) == []
    other = msgspec.structs.replace(
        plan,
        retention=Retention(critical_s=60.0, standard_s=41.0),
        relay=RelayTimes(dedupe_window_s=5.0),
        servers=Servers(nats_sync="interval"),
    )
    refused = stack.refuses(other)
    assert [one.partition(":")[0] for one in refused] == [
        "servers.nats_sync",
        "retention",
        "relay.dedupe_window_s",
    ]
    document = sound(settings_file="plan.env", up=["true"])
    del document["retention"]
    assert [one.partition(":")[0] for one in loaded(tmp_path, document).refuses(other)] == ["servers.nats_sync"]


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (Seen(connected_ms=1, received_bytes=9, answered_ms=2), "running"),
        (Seen(ended="refused", ended_ms=1), "gone"),
        (Seen(connected_ms=1), "stopped"),
        (Seen(), "stopped"),
        (Seen(connected_ms=1, received_bytes=9), "unclear"),
        (Seen(connected_ms=1, ended="eof", ended_ms=2), "unclear"),
        (Seen(connected_ms=1, ended="reset", ended_ms=2), "unclear"),
    ],
)
def test_only_a_refusal_is_an_end_and_only_silence_a_pause(seen: Seen, status: str) -> None:
    """An address that closes, resets or greets and falls silent proves neither."""
    assert read(seen) == status


async def test_a_command_has_a_limit_and_keeps_its_output(tmp_path: Path) -> None:
    """One that fails, hangs or is not there is told with its words and its output; what hangs is ended."""
    runner = Runner(stack=msgspec.structs.replace(loaded(tmp_path, sound(env={"WORD": "hi"})), command_within_s=1.0))
    assert await runner.run(["sh", "-c", "echo $WORD; pwd"]) == f"hi\n{runner.stack.folder}\n"
    with pytest.raises(ProcessFailed, match=r"(?s)to succeed, got code 3; the end of its output:\nwhy"):
        await runner.run(["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(ProcessFailed, match=r"(?s)to end within 1 s; the end of its output:\nbegun"):
        await runner.run(["sh", "-c", "echo begun; sleep 60 & echo $! > pid; wait"])
    pid = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(10):
        while status_of(pid) != "gone":  # noqa: ASYNC110  its child ends with it, and nobody tells
            await asyncio.sleep(0.01)
    with pytest.raises(ProcessFailed, match="expected to run `no-such-program`"):
        await runner.run(["no-such-program"])


def test_which_stack_is_asked_for(tmp_path: Path) -> None:
    """A file belongs to an external stack, and planted bugs to relays of ours; anything else is told."""
    assert stack_of(StackKind.EMBEDDED, None, "plant") is None
    assert stack_of(StackKind.COMPOSE, None, None) == StackFile.load(COMPOSE_FILE)
    for kind, path, plant in [
        (StackKind.EMBEDDED, tmp_path, None),
        (StackKind.COMPOSE, tmp_path, None),
        (StackKind.EXTERNAL, None, None),
        (StackKind.COMPOSE, None, "plant"),
    ]:
        with pytest.raises(StackFileInvalid, match=r"--(stack-file|plant): expected "):
            stack_of(kind, path, plant)
    assert words_of(StackKind.EMBEDDED, None) == []
    assert words_of(StackKind.EXTERNAL, Path("a.toml")) == ["--stack", "external", "--stack-file", "a.toml"]


@pytest.mark.parametrize("command", [["run", "--seed", "1"], ["campaign", "--seeds", "1..1"]])
def test_a_wrong_stack_file_is_wrong_usage(tmp_path: Path, command: list[str]) -> None:
    """Both commands exit 2 with every problem, before anything is started."""
    path = tmp_path / "stack.toml"
    path.write_text(toml(sound(nats="x", toxiproxy="y")))
    words = ["chaos", *command, "--stack", "external", "--stack-file", str(path), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(chaos_app(), words)
    assert result.exit_code == 2
    assert f"{path}: nats: expected nats://host:port, got 'x'\n{path}: toxiproxy: expected host:port" in result.stderr
    assert not (tmp_path / "run").exists()


DOCKER = {
    "no docker": ("", "`docker version` is not available: install Docker Engine"),
    "no engine": ("exit 1", "`docker version` is not available: install Docker Engine"),
    "no plugin": ('test "$1" = version', "`docker compose version` is not available: install Docker's compose plugin"),
}


@pytest.mark.parametrize("missing", DOCKER)
def test_a_missing_docker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without Docker, its engine or its compose plugin a run exits 4 and says in a sentence what to install."""
    script, told = DOCKER[missing]
    if script:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["chaos", "run", "--seed", "1", "--stack", "compose", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(chaos_app(), words)
    assert result.exit_code == 4
    assert f"could not run: PartUnavailable: {told}" in result.stderr
    assert "Traceback" not in result.stderr
