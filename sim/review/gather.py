"""From the parts on disk to the evidence of a review: pure but for the reading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import sim
from faults.pairs import pairs_of
from faults.transports import TransportName
from reports.review.coverage import Met, never_met, unkeyed
from reports.review.evidence import Covered, Difference, Evidence, Marks, Provenance
from sim.marks import marks_over
from sim.options.gathered import gather as gather_options
from sim.options.parts import PartInvalid
from sim.review.parts import Evidences

DIFFERENCES = Path(sim.__file__).parent / "DIFFERENCES.md"
EVERY = pairs_of(TransportName.REDIS)
"""What can be played on what: over option B there is all that there is over the others, and Redis."""
RUNS = 3
"""Of costs, that a comparison should have."""
COMMANDS = {
    "this report": "meshrelay report --minutes {minutes:g}",
    "guarantees by option, in simulation": "meshrelay compare --only simulated --seeds 0..1999",
    "guarantees by option, on the real stack": "meshrelay compare --only chaos",
    "costs and replays": "meshrelay compare --only scale --only replays",
    "costs in the simulated world": "meshrelay compare --only scale-simulated",
    "the quiet window": "meshrelay sim window",
    "the main plan on the real stack": "meshrelay chaos run --seed 7",
    "plans in both worlds": "meshrelay sim compare --seeds 0..400 --runs 20",
    "planted bugs": "meshrelay sim planted",
}


def evidence_of(parts: Evidences) -> Evidence:
    """Everything that there is. Raises PartInvalid, OSError."""
    run = parts.run()
    if run is None:
        raise PartInvalid(f"{parts.folder}: expected a run's evidence, got none; begin with meshrelay report")
    covered = [*_covered(parts), *parts.covered()]
    options = gather_options(parts, started_at=run.started_at, machine=run.machine, runs=RUNS, bug=run.bug)
    return Evidence(
        provenance=run,
        options=options,
        window=parts.window(),
        gaps=parts.gaps(),
        outages=parts.outages(),
        hunts=parts.hunts(),
        covered=covered,
        never=[
            f"{kind} on {target}" for kind, target in never_met(((c.kind, c.target, c.phase) for c in covered), EVERY)
        ],
        marks=list(_marks(parts)),
        left_out=parts.left_out(),
        real=parts.real(),
        plans=parts.plans(),
        not_modelled=list(deliberate(DIFFERENCES.read_text(encoding="utf-8"))),
        origins=dict(sorted(parts.origins.items())),
    )


def _covered(parts: Evidences) -> Iterator[Covered]:
    """What the simulated seeds played, over all options together."""
    total = Counter[Met]()
    for option in TransportName:
        found = parts.simulated(option.value)
        total.update({} if found is None else unkeyed(found.covered))
    for (kind, target, phase), times in sorted(total.items()):
        yield Covered(world="sim", kind=kind, target=target, phase=phase, count=times)


def commands_of(run: Provenance) -> dict[str, str]:
    """What finds each part again."""
    plant = "" if run.bug is None else f" --plant {run.bug}"
    return {name: command.format(minutes=run.minutes) for name, command in COMMANDS.items()} | {
        "this report": COMMANDS["this report"].format(minutes=run.minutes) + plant
    }


def _marks(parts: Evidences) -> Iterator[Marks]:
    for option in TransportName:
        found = parts.simulated(option.value)
        if found is not None and found.marks:
            yield Marks(
                transport=option.value,
                runs=found.trials,
                hit=dict(sorted(found.marks.items())),
                meaning=marks_over(option),
            )


def deliberate(text: str) -> Iterator[Difference]:
    """What `DIFFERENCES.md` lists as left out or different on purpose."""
    server, is_deliberate = "", False
    for line in text.splitlines():
        if line.startswith("## "):
            server, is_deliberate = line.removeprefix("## "), False
        elif line.startswith("### "):
            is_deliberate = line.startswith("### Deliberate")
        elif is_deliberate and line.startswith("| "):
            what, model, real, why = [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if what != "what":
                yield Difference(server=server, what=what, model=model, real=real, why=why)
