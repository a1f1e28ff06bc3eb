"""A part that can't be had is named in one sentence with its remedy; what is shared is made once, also at a race."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from faults.stack import EmbeddedStack, PartUnavailable, binaries, embedded, go_build, toxiproxy_build

FAKE_GO = """#!/bin/sh
PATH=/bin:/usr/bin
echo built >> "$(dirname "$0")/builds"
sleep 0.2
printf '#!/bin/sh\\nexit 0\\n' > "$GOBIN/server"
chmod +x "$GOBIN/server"
"""


def path_with(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Make PATH this folder alone, with these scripts."""
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_toxiproxy_is_built_once_for_all_that_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent callers get the same program, from one build, and no build folder is left."""
    path_with(tmp_path, monkeypatch, go=FAKE_GO)
    cache = tmp_path / "cache"
    (cache / "build-toxiproxy-server-of-a-killed-one").mkdir(parents=True)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(toxiproxy_build.toxiproxy_server(cache))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "toxiproxy-server-2.12.0"] * 4
    assert os.access(found[0], os.X_OK)
    assert (tmp_path / "builds").read_text() == "built\n"
    assert list(cache.glob("build-*")) == []


def test_toxiproxy_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed toxiproxy-server is used as it is; nothing is built."""
    path_with(tmp_path, monkeypatch, **{"toxiproxy-server": "#!/bin/sh\n", "go": FAKE_GO})
    assert toxiproxy_build.toxiproxy_server(tmp_path / "cache") == tmp_path / "toxiproxy-server"
    assert not (tmp_path / "builds").exists()


def test_a_failed_build_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Go can't build it, the error names the part, the remedy, and Go's last words; no program is left."""
    path_with(tmp_path, monkeypatch, go="#!/bin/sh\necho 'dial tcp: no route' >&2\nexit 1\n")
    with pytest.raises(PartUnavailable, match=r"toxiproxy-server 2\.12\.0 is not available: put .* no route") as caught:
        toxiproxy_build.toxiproxy_server(tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache" / "toxiproxy-server-2.12.0").exists()


FAKE_BUILD = """#!/bin/sh
PATH=/bin:/usr/bin
echo "$1 $3" >> "$(dirname "$0")/builds"
printf '#!/bin/sh\\nexit 0\\n' > "$6"
chmod +x "$6"
"""


def test_a_program_of_ours_is_built_anew_when_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of source is built once for each state of it, and a program of its name on PATH is not taken."""
    path_with(tmp_path, monkeypatch, go=FAKE_BUILD, ours="#!/bin/sh\n")
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    program = go_build.GoProgram(name="ours", version="1.0", package=str(source), go="1.24")
    found = []
    for text in ("one", "one", "two"):
        (source / "main.go").write_text(text)
        found.append(go_build.built(program, cache))
    assert found[0] == found[1] != found[2]
    assert all(path.parent == cache and os.access(path, os.X_OK) for path in found)
    assert (tmp_path / "builds").read_text() == f"build {source}\n" * 2


def test_a_missing_nats_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel's program and without one on PATH, the error names nats-server and its remedy."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PartUnavailable, match="nats-server is not available: install"):
        binaries.nats_server()


def test_a_missing_redis_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its wheel and without one on PATH, the error names redis-server and its remedy; PATH goes first."""
    monkeypatch.setattr(binaries, "REDIS_PACKAGE", "no_such_package")
    path_with(tmp_path, monkeypatch)
    with pytest.raises(PartUnavailable, match="redis-server is not available: run `make setup`"):
        binaries.redis_server()
    path_with(tmp_path, monkeypatch, **{"redis-server": "#!/bin/sh\n"})
    assert binaries.redis_server() == tmp_path / "redis-server"


def test_a_missing_postgres_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its wheel, the error names PostgreSQL and its remedy."""
    monkeypatch.setattr(binaries, "POSTGRES_PACKAGE", "no_such_package")
    with pytest.raises(PartUnavailable, match="PostgreSQL 18 is not available: install"):
        binaries.postgres_bin(None)


@pytest.mark.stack
def test_a_stack_that_lacks_a_part_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails on a part, with other servers running already, ends those and removes its folder."""
    monkeypatch.setattr(binaries, "POSTGRES_PACKAGE", "no_such_package")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(embedded, "is_reachable", lambda folder, user: True)
    with pytest.raises(PartUnavailable, match="PostgreSQL 18"):
        asyncio.run(EmbeddedStack.open())
    assert list(tmp_path.iterdir()) == []


def test_reachability_is_decided_by_every_folder_of_the_path(tmp_path: Path) -> None:
    """A folder is out of reach of another uid as soon as one of its parents is closed."""
    stranger = 54321
    inner = tmp_path / "closed" / "open"
    inner.mkdir(parents=True)
    inner.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    assert not binaries.is_reachable(inner, stranger)
    assert binaries.is_reachable(Path("/"), stranger)


def test_postgres_is_copied_whole_for_another_uid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the installed Postgres is closed to the uid it runs under, a readable copy is made that works, once."""
    monkeypatch.setattr(binaries, "SYSTEM_CACHE", tmp_path / "cache")
    monkeypatch.setattr(binaries, "is_reachable", lambda folder, user: False)
    copied = binaries.postgres_bin(65534)
    again = binaries.postgres_bin(65534)
    assert copied == again
    assert (tmp_path / "cache") in copied.parents
    for program in ("initdb", "postgres"):
        output = subprocess.run([copied / program, "--version"], check=True, capture_output=True, text=True).stdout
        assert "18." in output
    assert [path for path in copied.rglob("*") if not path.stat().st_mode & 0o004] == []
