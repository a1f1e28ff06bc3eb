"""The parts of a review on disk: what this run measured, and behind it what was kept of longer ones."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import reports
from reports.report import Report
from reports.review.evidence import Covered, GapTrial, Hunt, Origin, Outage, Provenance, SamePlan, Window
from reports.review.tables import SEEDS_ENOUGH
from sim.options.evidence import Simulated
from sim.options.parts import Parts

T = TypeVar("T")
KEPT = Path(reports.__file__).parent / "evidence"
"""Evidence of longer runs, in the repository."""

WINDOW, GAPS, OUTAGES, HUNTS, REAL, PLANS, COVERED, LEFT_OUT, RUN = (
    "window.json",
    "gaps.json",
    "outages.json",
    "hunts.json",
    "real.json",
    "plans.json",
    "covered.json",
    "left-out.json",
    "run.json",
)


class Evidences(Parts):
    """The parts of a run; what it did not measure is looked up among those that were kept, and marked as such."""

    def __init__(self, run: Parts, kept: Parts | None, *, relay: str = "") -> None:
        """`relay` is the digest of the relay as it is now, to which evidence of an older one is not to be ascribed."""
        super().__init__(run.folder)
        self._relay = relay
        self._run, self._kept = run, kept
        self.origins: dict[str, Origin] = {}
        """By part that was read and is not of this run, where it comes from."""

    def read(self, name: str, kind: type[T]) -> T | None:
        """A part of this run, else one that was kept. Raises PartInvalid, OSError."""
        found = self._run.read(name, kind)
        if self._kept is None:
            return found
        kept = self._kept.read(name, kind)
        if kept is None or not _is_better(kept, found):
            return found
        self.origins[name.removesuffix(".json")] = _origin(self._kept.origin(name), self._relay)
        return kept

    def window(self) -> Window | None:
        """The quiet window. Raises PartInvalid, OSError."""
        return self.read(WINDOW, Window)

    def gaps(self) -> list[GapTrial]:
        """Absences. Raises PartInvalid, OSError."""
        return self.read(GAPS, list[GapTrial]) or []

    def outages(self) -> list[Outage]:
        """Outages. Raises PartInvalid, OSError."""
        return self.read(OUTAGES, list[Outage]) or []

    def hunts(self) -> list[Hunt]:
        """Hunts for planted bugs. Raises PartInvalid, OSError."""
        return self.read(HUNTS, list[Hunt]) or []

    def real(self) -> list[Report]:
        """Main plans on the real stack. Raises PartInvalid, OSError."""
        return self.read(REAL, list[Report]) or []

    def plans(self) -> list[SamePlan]:
        """Plans played in both worlds. Raises PartInvalid, OSError."""
        return self.read(PLANS, list[SamePlan]) or []

    def covered(self) -> list[Covered]:
        """Faults played. Raises PartInvalid, OSError."""
        return self.read(COVERED, list[Covered]) or []

    def left_out(self) -> list[str]:
        """What this run had no time for. Raises PartInvalid, OSError."""
        return self._run.read(LEFT_OUT, list[str]) or []

    def run(self) -> Provenance | None:
        """What was asked of this run, or, where none was, of the one that was kept. Raises PartInvalid, OSError."""
        return self._run.read(RUN, Provenance) or (self._kept.read(RUN, Provenance) if self._kept else None)


def _is_better(kept: object, found: object) -> bool:
    """Whether what was kept says more than what this run found: never if this run found a breach."""
    if isinstance(found, Simulated) and isinstance(kept, Simulated):
        return not found.violated and not found.not_run and kept.trials > found.trials
    if isinstance(found, Window) and isinstance(kept, Window):
        return found.verdict == "held" and kept.days > found.days
    if isinstance(found, list) and isinstance(kept, list):
        return not _has_breach(found) and len(kept) > len(found)
    return found is None


def _has_breach(found: list[object]) -> bool:
    """Whether a list of trials holds one that failed."""
    return any(
        (isinstance(one, GapTrial) and bool(one.lost))
        or (isinstance(one, Outage | Report) and one.verdict != "held")
        or (isinstance(one, SamePlan) and one.outcome == "different")
        or (isinstance(one, Hunt) and not one.seeds and one.seeds_max >= SEEDS_ENOUGH)
        for one in found
    )


def _origin(run: Provenance | None, relay: str) -> Origin:
    if run is None:
        return Origin(started_at="", commit="", relay="", is_same=False)
    is_same = bool(relay) and run.relay == relay
    return Origin(started_at=run.started_at, commit=run.commit, relay=run.relay, is_same=is_same)
