"""The CI workflow: linted, pinned, held to least permissions, and every command that it runs exists as written."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import meshrelay
from tests.deploy import parts

GITHUB = parts.ROOT / ".github"
WORKFLOW_FILE = GITHUB / "workflows" / "ci.yml"
ACTION_FILE = GITHUB / "actions" / "setup" / "action.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(WORKFLOW_FILE.read_text())
ACTION: dict[str, Any] = yaml.safe_load(ACTION_FILE.read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
ON = WORKFLOW[True]
"""`on` is a truth value to YAML 1.1."""
HELPERS = {"mkdir", "tee", "cat", "sed", "export", "timeout"}
"""What a step may call beside the project's own commands: what carries their output."""
COMMAND = ".venv/bin/meshrelay"


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, with the job that it is of; those of our own action too."""
    for name, job in JOBS.items():
        yield from ((name, step) for step in job["steps"])
    yield from (("setup", step) for step in ACTION["runs"]["steps"])


def calls(script: str) -> list[list[str]]:
    """The simple commands of a script, those within `$(…)` too, with a number for every variable."""
    script = re.sub(r"\$\(\(.*?\)\)", "7", script)
    inner = [one for text in re.findall(r"\$\(([^()]*)\)", script) for one in calls(text)]
    script = re.sub(r"\$\([^()]*\)", "7", script)
    script = re.sub(r"\$\w+", "7", script)
    lexer = shlex.shlex(script.replace("\n", " ; "), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    outer = [one[: one.index(">")] if ">" in one else one for one in found]
    outer = [one[: one.index(">>")] if ">>" in one else one for one in outer]
    without_assignments = [one[1:] if one and re.match(r"\w+=", one[0]) else one for one in outer]
    return inner + [one for one in without_assignments if one]


def check_call(words: list[str]) -> None:
    """A make target that make knows, or a meshrelay command whose options all exist.

    Raises AssertionError, or what the command line says of its misuse.
    """
    if words[0] == "timeout":
        words = words[2:]
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=parts.ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif words[0] == COMMAND:
        try:
            _parse(typer.main.get_command(meshrelay.command(words[1:])), words[1:])
        except typer.BadParameter as error:
            if "does not exist" not in error.message:  # a file that an example names need not be there
                raise
    elif words[:2] == ["docker", "compose"]:
        profiles = [words[place + 1] for place, word in enumerate(words) if word == "--profile"]
        assert not set(profiles) - set(parts.PROFILES), profiles
        assert set(words) & {"up", "ps", "logs", "down"}, words
    elif words[0] == "sudo":
        assert words[1:] == ["sysctl", "-w", "kernel.apparmor_restrict_unprivileged_userns=0"], words
    else:
        assert words[0] in HELPERS, f"{words[0]} is no command of the project's"


def _parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Read the words as the command would, down to its last sub-command; nothing is run."""
    context = command.make_context(command.name, list(words), parent=parent)
    if isinstance(command, typer.core.TyperGroup):
        rest = [*context._protected_args, *context.args]
        _, sub, left = command.resolve_command(context, rest)
        _parse(sub, left, context)


def test_actionlint_has_nothing_to_say() -> None:
    """The workflow is valid to GitHub's syntax and expressions, and its scripts to shellcheck."""
    shellcheck = str(parts.from_wheel("shellcheck"))
    done = parts.ran(parts.ACTIONLINT, "-shellcheck", shellcheck, str(WORKFLOW_FILE))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("runs-on: ubuntu-24.04", "runs_on: ubuntu-24.04", "runs_on"),
        ("github.event_name == 'schedule'", "github.event_nam == 'schedule'", "event_nam"),
        ('- cron: "17 2 * * *"', '- cron: "17 25 * * *"', "cron"),
        ("mkdir -p out/sim\n", "mkdir -p $FOLDER/sim\n", "SC2086"),
    ],
)
def test_actionlint_would_say_it(tmp_path: Path, old: str, new: str, told: str) -> None:
    """A wrong key, a wrong name in an expression, a time that never comes and an unquoted variable are told."""
    text = WORKFLOW_FILE.read_text()
    assert old in text
    (tmp_path / "ci.yml").write_text(text.replace(old, new))
    shellcheck = str(parts.from_wheel("shellcheck"))
    done = parts.ran(parts.ACTIONLINT, "-shellcheck", shellcheck, str(tmp_path / "ci.yml"))
    assert done.returncode != 0
    assert told in done.stdout


def test_the_jobs_are_those_that_a_push_and_a_night_need() -> None:
    """A push is checked, tested, simulated and put to chaos, each in a job; a night does the last two for longer."""
    assert set(JOBS) == {"check", "test", "sim", "chaos", "compose", "nightly-sim", "nightly-chaos", "nightly-models"}
    assert ON["schedule"]
    assert {"push", "pull_request"} <= set(ON)
    for name, job in JOBS.items():
        is_nightly = name.startswith("nightly")
        assert ("event_name == 'schedule'" in job["if"]) is is_nightly, name
        assert ("event_name != 'schedule'" in job["if"]) is not is_nightly, name


def test_the_workflow_may_read_and_nothing_else() -> None:
    """The token reads the repository, no job asks for more, no checkout leaves it behind, and every job has an end."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["group"]
    assert WORKFLOW["defaults"]["run"]["shell"] == "bash"
    for name, job in JOBS.items():
        assert "permissions" not in job, name
        assert 0 < job["timeout-minutes"] <= 180, name
        checkout = job["steps"][0]
        assert checkout["uses"].startswith("actions/checkout@"), name
        assert checkout["with"]["persist-credentials"] is False, name


def test_every_action_is_pinned_to_a_commit() -> None:
    """Actions of others are named by a full commit, with the version beside it; one action is always of one version."""
    lines = [line for file in (WORKFLOW_FILE, ACTION_FILE) for line in file.read_text().splitlines() if "uses:" in line]
    pinned: dict[str, str] = {}
    for line in lines:
        if "uses: ./" in line:
            assert (parts.ROOT / line.partition("./")[2] / "action.yml").exists()
            continue
        found = re.fullmatch(r"\s*- uses: ([\w/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
        assert found, line
        assert pinned.setdefault(found[1], found[2]) == found[2], line
    assert {"actions/checkout", "actions/setup-python", "actions/setup-go", "actions/cache"} <= set(pinned)


def test_every_command_exists() -> None:
    """Each step runs make targets that exist, or meshrelay commands with options that exist; each job runs one."""
    ours: dict[str, int] = dict.fromkeys([*JOBS, "setup"], 0)
    for job, step in steps():
        for words in calls(step.get("run", "")):
            check_call(words)
            ours[job] += words[0] in ("make", COMMAND)
    assert all(ours.values()), ours


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("make chaoss", "No rule to make target 'chaoss'"),
        (".venv/bin/meshrelay sim campain --seeds 0..9", "No such command 'campain'"),
        (".venv/bin/meshrelay sim campaign --seed 0..9", "No such option: --seed"),
        (".venv/bin/meshrelay sim campaign --jobs none", "should be a valid integer"),
        ('x="$(.venv/bin/meshrelay token)"', "Missing"),
        ("mkdir -p out && pytest", "pytest is no command of the project's"),
        ("docker compose --profile other up", "other"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(script: str, told: str) -> None:
    """A wrong target, sub-command, option, value or profile is found, also within a substitution or behind `&&`."""
    with pytest.raises(Exception, match=told):  # noqa: PT012  # whichever of the script's calls it is
        for words in calls(script):
            check_call(words)


def test_what_a_job_leaves_is_kept() -> None:
    """Every job that judges keeps its folder whatever its end, and says in the summary what failed."""
    for name, left in {"test": "out/test", "sim": "out/sim", "chaos": "out/chaos"}.items():
        for job in {name, f"nightly-{name}"} & set(JOBS):
            (upload,) = [step for step in JOBS[job]["steps"] if "upload-artifact" in step.get("uses", "")]
            assert upload["if"] == "always()", job
            assert left in upload["with"]["path"].split(), job
            told = [step for step in JOBS[job]["steps"] if '>> "$GITHUB_STEP_SUMMARY"' in step.get("run", "")]
            assert bool(told) is (name != "test"), job
            assert all(step["if"].startswith("always()") and left in step["if"] for step in told), job
    assert "--junitxml=out/test/junit.xml" in str(JOBS["test"]["steps"])


def test_the_caches_are_made_anew_when_what_they_hold_changes() -> None:
    """Every file that a cache's key is made of exists; the programs' versions and sources are among them."""
    texts = [str(step.get("with", {})) for step in ACTION["runs"]["steps"]]
    (key,) = [
        step["with"]["key"] for step in ACTION["runs"]["steps"] if step.get("uses", "").startswith("actions/cache@")
    ]
    patterns = re.findall(r"'([^']+)'", key)
    assert len(patterns) == 5
    for pattern in patterns:
        assert list(parts.ROOT.glob(pattern)), pattern
    for path in ("requirements.lock", "tests/deploy/composed/go.sum"):
        assert any(path in text for text in texts)
        assert (parts.ROOT / path).exists()
    with_go = next(step["with"] for step in ACTION["runs"]["steps"] if "setup-go" in step.get("uses", ""))
    assert all((parts.ROOT / path).exists() for path in with_go["cache-dependency-path"].split())
