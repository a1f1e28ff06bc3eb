"""Where Node.js and the npm packages come from, and what is said when they can't be had."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from faults.stack import PartUnavailable
from tests import node

TESTS = Path(node.__file__).parent
SOURCES = {
    TESTS / "interop": {"eventsource"},
    TESTS / "browser" / "driver": {"puppeteer-core", "axe-core"},
    TESTS / "browser" / "chromium": {"@sparticuz/chromium"},
}
"""The folders with a lock, and what each is for."""


def fake_node(folder: Path, version: str) -> None:
    """A node and an npm on a PATH of their own."""
    for name, text in (("node", f"echo {version}"), ("npm", "exit 1")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize(("source", "wanted"), SOURCES.items(), ids=[one.name for one in SOURCES])
def test_the_lock_pins_versions_and_hashes_and_names_no_registry(source: Path, wanted: set[str]) -> None:
    """Every package has an exact version and a hash, and no address to get it from."""
    text = (source / "package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert {f"node_modules/{name}" for name in wanted} <= set(packages)
    assert "://" not in text
    for one in packages.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+(-\d+)?", one["version"])
        assert one["integrity"].startswith("sha512-")
        assert "resolved" not in one


def test_node_on_path_is_taken_if_recent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node of the version asked for on PATH is used; an older one gives way to the wheel's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_node(tmp_path, "v20.0.0")
    assert node.find_node(20) == node.Node(node=str(tmp_path / "node"), npm=(str(tmp_path / "npm"),))
    fake_node(tmp_path, "v18.19.1")
    assert node.WHEEL in node.find_node(20).node


def test_without_any_node_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither on PATH nor as a wheel: the error names both ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "WHEEL", "no_such_wheel")
    with pytest.raises(PartUnavailable, match=r"put node 20 or later with npm on PATH, or install .*wheel$"):
        node.find_node(20)


def test_a_failed_install_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """What npm could not install is told with npm's reason, and no half of it is kept."""
    fake_node(tmp_path, "v20.0.0")
    found = node.Node(node=str(tmp_path / "node"), npm=(str(tmp_path / "npm"),))
    with pytest.raises(PartUnavailable, match=r"eventsource from npm.*registry is in reach \(npm ci: code 1\)"):
        node.installed_packages(found, TESTS / "interop", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["interop.lock"]
