"""One short story for each verdict, and how to judge it from a file."""

from __future__ import annotations

from pathlib import Path

from reports import api
from reports.history import Deliver, encode
from reports.report import Report
from tests.reports.story import STANDARD, Story


def good() -> Story:
    """Two agents, a kill, a proven fault, an expired gap that is told, and convergence."""
    story = Story(critical_s=100, standard_s=10)
    story.phase("safety")
    story.connect("a", "earliest")
    story.publish("e1", "a")
    story.deliver("a", "e1")
    story.fault("f1", "asked")
    story.fault("f1", "effective")
    story.kill()
    story.disconnect("a")
    story.publish("s2", "a", STANDARD)
    story.wait(50)
    story.fault("f1", "lifted")
    story.publish("e3", "a")
    story.connect("a", "e1")
    story.gap("a", standard="s2")
    story.deliver("a", "e3")
    story.publish("e4", "a")
    story.deliver("a", "e4")
    story.converge()
    return story


def lossy() -> Story:
    """The same with one delivery missing."""
    story = good()
    story.records = [r for r in story.records if not (isinstance(r, Deliver) and r.id == "e3")]
    return story


def idle() -> Story:
    """The same with a fault that never took effect."""
    story = good()
    story.fault("f2", "asked", "latency")
    story.fault("f2", "ineffective", "latency")
    return story


def stuck() -> Story:
    """Healed, and one agent never gets its event."""
    story = Story()
    story.publish("e0", "b")
    story.connect("b", "earliest")
    story.deliver("b", "e0")
    story.publish("e1", "a")
    story.phase("healed")
    story.connect("a", "earliest", status=503)
    story.disconnect("a")
    story.phase("end")
    return story


def silent() -> Story:
    """Healed, everybody is connected, and nobody is ever given anything."""
    story = Story()
    story.publish("e1", "a")
    story.phase("healed")
    story.connect("a", "earliest")
    story.phase("end")
    return story


def written(story: Story, folder: Path) -> Path:
    """The story as a file."""
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(encode(record) for record in story.records))
    return path


def report_of(story: Story, folder: Path) -> Report:
    """The judged story."""
    return api.judge(written(story, folder))


STORIES = {"held": good, "violated": lossy, "could not run": idle, "not converged": stuck}
"""By verdict."""
