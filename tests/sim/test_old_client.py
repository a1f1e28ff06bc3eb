"""An old bug of nats-py is found again, by playing the same plan with the version that had it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults.plan import Plan
from faults.vocabulary import Cut, Link
from sim.old_client import installed
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim
ROOT = Path(__file__).parents[2]


def played(plan: Plan, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the outcome of `meshrelay sim replay`, in a folder of its own."""
    path = folder / "plan.json"
    plan.dump(path)
    command = [sys.executable, str(ROOT / "meshrelay.py"), "sim", "replay", str(path), "--json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout)


def test_a_client_that_can_not_close_what_never_was_open(tmp_path: Path) -> None:
    """Up to 2.14, nats-py's `close` raised AttributeError on a client whose dialling had been given up: whoever cleans
    up after a time limit died of it. A publisher that does takes its outbox with it; the relay makes the same call,
    and expects it to fail.
    """
    plan = plan_with(Cut(id="unreachable", link=Link.PUBLISHER_NATS, at_s=2.0, for_s=6.0))
    code, old = played(plan, tmp_path, "--nats-py", "2.14.0")
    assert (code, old["verdict"], old["nats_py"]) == (1, "violated", "2.14.0")
    assert "events never published: AttributeError" in old["reason"]
    code, new = played(plan, tmp_path)
    assert (code, new["verdict"]) == (0, "held")
    assert new["nats_py"] != "2.14.0"


def test_what_is_no_version_is_refused(tmp_path: Path) -> None:
    """Before pip is asked for anything."""
    with pytest.raises(ValueError, match=r"expected a version of nats-py, such as 2\.14\.0, got 'latest'"):
        installed("latest", tmp_path)
    assert list(tmp_path.iterdir()) == []
