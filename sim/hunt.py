"""The hunt for a planted bug: seeds from a start, one after the other, until the judge finds it guilty."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from faults.planted import PlantedBug, planted
from faults.transports import TransportName
from sim.swarm import family_plan_over
from sim.trial import Trial, try_plan

STARTS = tuple(range(1_000, 6_000, 1_000))
"""Where the seeds begin, five times: one start may be lucky."""
SEEDS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """How one bug was found from one start."""

    bug: str
    seeds: int
    """How many it took; 0 if the bug got away."""
    tried: int
    wall_s: float
    kinds: tuple[str, ...] = ()
    violated: tuple[str, ...] = ()
    seed: int = -1


def hunt(
    bug: str, start: int, seeds_max: int, transport: TransportName | None = None, until_s: float = math.inf
) -> Hunt:
    """Try seeds from a start until one finds the bug guilty of what it is; over the first transport that has it.

    `until_s`: on the machine's monotonic clock, from when on the hunt is given up.
    """
    began_s, tried = time.perf_counter(), 0
    with planted(bug) as found:
        while tried < seeds_max and time.monotonic() < until_s:
            trial = try_plan(family_plan_over(found.plans, start + tried, transport or found.over[0]))
            tried += 1
            if is_caught(found, trial):
                return Hunt(
                    bug=bug,
                    seeds=tried,
                    tried=tried,
                    wall_s=time.perf_counter() - began_s,
                    kinds=trial.kinds,
                    violated=trial.violated,
                    seed=trial.seed,
                )
    return Hunt(bug=bug, seeds=0, tried=tried, wall_s=time.perf_counter() - began_s)


def is_caught(bug: PlantedBug, trial: Trial) -> bool:
    """Whether a run was found guilty of what the bug does."""
    is_of_it = bool(bug.guarantees & set(trial.violated)) and (not bug.kinds or bool(bug.kinds & set(trial.kinds)))
    return is_of_it and trial.is_failure
