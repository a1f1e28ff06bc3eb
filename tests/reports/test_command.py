"""`meshrelay report --history`: exit codes, files, and words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

import meshrelay
from tests.reports.stories import STORIES, good, written
from tests.reports.story import Story


def _run(*words: str) -> Result:
    """The command on a history, as it is mounted."""
    return CliRunner().invoke(meshrelay.command(["report"]), ["report", *words])


class TestCommand:
    """`meshrelay report --history`."""

    @pytest.mark.parametrize(
        ("verdict", "code"), [("held", 0), ("violated", 1), ("not converged", 3), ("could not run", 4)]
    )
    def test_exit_codes(self, tmp_path: Path, verdict: str, code: int) -> None:
        """The exit code is the verdict's, and the files are there."""
        path = written(STORIES[verdict](), tmp_path)
        result = _run("--history", str(path), "--out", str(tmp_path / "out"))
        assert result.exit_code == code, result.output
        assert {file.name for file in (tmp_path / "out").iterdir()} == {
            "report.html",
            "report.md",
            "report.json",
            "junit.xml",
        }

    def test_json(self, tmp_path: Path) -> None:
        """With --json the standard output is the report and nothing else."""
        path = written(good(), tmp_path)
        result = _run("--history", str(path), "--out", str(tmp_path / "out"), "--json")
        assert msgspec.json.decode(result.stdout)["verdict"] == "held"

    def test_a_history_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A missing file is a usage error, a malformed line exit code 4, with what was expected."""
        missing = _run("--history", str(tmp_path / "none.jsonl"))
        assert missing.exit_code == 2
        assert "does not exist" in " ".join(missing.output.replace("│", "").split())
        path = tmp_path / "history.jsonl"
        path.write_bytes(b"nonsense\n")
        result = _run("--history", str(path))
        assert result.exit_code == 4
        assert ":1: expected a history record" in result.output

    def test_awkward_names_are_printed_as_they_are(self, tmp_path: Path) -> None:
        """An id may look like markup: it is printed, neither swallowed nor the end of the command."""
        story = Story()
        story.connect("a", "earliest")
        story.publish("e[/red]|`<b>&", "a")
        story.bookmark("a")
        story.converge()
        result = _run("--history", str(written(story, tmp_path)), "--out", str(tmp_path / "out"))
        assert result.exit_code == 1, result.output
        assert "e[/red]|`<b>&" in result.output
