"""Whether a seed is the whole truth: the same plans in two processes that hash differently must leave the same traces.

Python draws a hash seed for each process, so whatever follows from the order of a set, an address, the machine's clock
or its entropy differs between two of them sooner or later. A child plays many plans and answers with their traces'
hashes; for one that differs it is asked for every segment.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from faults.plan import Plan
from faults.planted.straying import STRAYING
from sim.difference import Difference, first_difference
from sim.swarm import short_plan, swarm_plan
from sim.trace import Recording, Segment
from sim.trial import try_plan

HASH_SEEDS = ("1", "2")
SMALL_S = 5.0
SMALL_EVENTS = 25
"""How much of a seed's plan is played: start, agents coming and going, and its first faults."""


class ChildFailed(Exception):
    """A process that was to play plans ended without their traces; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strayed:
    """A seed whose two traces differ."""

    seed: int
    difference: Difference


def small_plan(seed: int) -> Plan:
    """The beginning of a seed's plan: many seeds say more than long runs about what does not follow from them."""
    plan = short_plan(seed)
    faults = tuple(fault for fault in plan.faults if fault.until_s < SMALL_S)
    agents = tuple(
        msgspec.structs.replace(
            agent,
            awake=tuple(
                one
                if one.until_s is not None and one.until_s <= SMALL_S
                else msgspec.structs.replace(one, until_s=None)
                for one in agent.awake
                if one.from_s < SMALL_S
            ),
            crashes_s=tuple(at_s for at_s in agent.crashes_s if at_s < SMALL_S),
        )
        for agent in plan.agents
    )
    work = msgspec.structs.replace(
        plan.workload,
        events=min(SMALL_EVENTS, round(plan.workload.events * SMALL_S / plan.duration_s)),
        pinned=tuple(pin for pin in plan.workload.pinned if pin.at_s < SMALL_S),
    )
    return msgspec.structs.replace(plan, duration_s=SMALL_S, faults=faults, agents=agents, workload=work)


def strayed(
    seeds: Sequence[int],
    *,
    jobs: int,
    bug: str | None = None,
    whole: bool = False,
    told: Callable[[int], object] = lambda seed: None,
) -> Iterator[Strayed]:
    """Play every seed under each of two hash seeds; yields those whose traces differ. Raises ChildFailed.

    `told` hears of each seed as one of its two plays is done, in whatever order.
    """
    pieces = [seeds[number::jobs] for number in range(jobs) if seeds[number::jobs]]
    with ThreadPoolExecutor(jobs) as pool:
        runs = [
            (hash_seed, pool.submit(_hashes, piece, hash_seed, bug, whole, told))
            for piece in pieces
            for hash_seed in HASH_SEEDS
        ]
        found: dict[str, dict[int, str]] = {hash_seed: {} for hash_seed in HASH_SEEDS}
        for hash_seed, future in runs:
            found[hash_seed].update(future.result())
    one, other = (found[hash_seed] for hash_seed in HASH_SEEDS)
    for seed in seeds:
        if one[seed] != other[seed]:
            played = (_segments(seed, hash_seed, bug, whole) for hash_seed in HASH_SEEDS)
            difference = first_difference(*played)
            if difference is not None:
                yield Strayed(seed=seed, difference=difference)


def _hashes(
    seeds: Iterable[int], hash_seed: str, bug: str | None, whole: bool, told: Callable[[int], object]
) -> dict[int, str]:
    found = {}
    for line in _child(hash_seed, bug, whole, "hashes", seeds):
        seed, digest = json.loads(line)
        found[seed] = digest
        told(seed)
    return found


def _segments(seed: int, hash_seed: str, bug: str | None, whole: bool) -> list[Segment]:
    return [
        Segment(sent_ns, t_ns, source, target, base64.b64decode(data))
        for sent_ns, t_ns, source, target, data in map(json.loads, _child(hash_seed, bug, whole, "segments", [seed]))
    ]


def _child(hash_seed: str, bug: str | None, whole: bool, what: str, seeds: Iterable[int]) -> Iterator[str]:
    """Lines of a process of its own."""
    command = [sys.executable, "-m", "sim.determinism", what, bug or "", str(int(whole)), *map(str, seeds)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    # in its place, wherever this is called from
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        yield from child.stdout
        said = child.stderr.read()
        if child.wait() != 0:
            raise ChildFailed(f"expected traces of seeds, got exit code {child.returncode}: {said[-2000:]}")


def main() -> None:
    """What a child does: play plans, and print hashes or segments as lines of JSON."""
    what, bug, whole, *seeds = sys.argv[1:]
    if bug:
        STRAYING[bug]()
    for seed in map(int, seeds):
        plan = swarm_plan(seed) if whole == "1" else small_plan(seed)
        recording = Recording()
        trial = try_plan(plan, on_segment=recording.note if what == "segments" else None)
        if what == "hashes":
            # a world that fails has no trace, but fails alike
            sys.stdout.write(json.dumps((seed, trial.trace_sha256 or trial.reason)) + "\n")
            sys.stdout.flush()
        else:
            for segment in recording.segments:
                sys.stdout.write(json.dumps((*segment[:4], base64.b64encode(segment.data).decode())) + "\n")


if __name__ == "__main__":
    main()
