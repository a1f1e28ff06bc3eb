"""Plays variants, each in a process of its own, some at a time, and says how far each has come.

A process that dies takes only its own column with it. Whoever interrupts keeps the columns that are done.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, TypeAlias

from msgspec.structs import replace

from faults.plan import Plan
from reports.api import write_report
from reports.what_if import Column
from sim.errors import NotModelled
from sim.outcome import WorldFailed
from sim.trial import Played
from sim.trial import play as play_plan
from sim.what_if.figures import figures_of
from sim.workers import end_with_whoever_started_us

LOOK_S = 0.5
"""How often whoever waits is told."""
TOLD_EVERY = 512
"""Segments between two notes of a world's time: some milliseconds of a processor."""
END_WITHIN_S = 10.0
INTERRUPTED = "it was interrupted"
"""Why a column is empty that was not played to its end before Ctrl-C."""
Shared: TypeAlias = Any
"""Of each variant: how many simulated ns have passed. multiprocessing's arrays have no type of their own."""
Told: TypeAlias = Callable[[Sequence[float], Sequence[bool]], None]
"""Told, again and again, the simulated s that each variant has behind it, and whether it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One variant to play: the column as far as it is known, its plan, and where its report goes."""

    column: Column
    plan: bytes
    out: Path | None
    folder: Path | None = None
    """Where its history is while it is played, unless it is kept in `out`; None: in a folder of its own."""


def play_all(jobs: Sequence[Job], *, at_once: int, told: Told) -> list[Column]:
    """Play all, so many at once; a column for each, in their order, also for what could not be played.

    An interruption ends what runs; the columns that are done are whole, the others say so.
    """
    context = multiprocessing.get_context("spawn")
    # ours, not the processes' own: one that is ended removes nothing
    scratch = tempfile.TemporaryDirectory(prefix="meshrelay-what-if-")
    passed_ns = RawArray("q", len(jobs))
    done: dict[int, Column] = {}
    running: dict[int, tuple[SpawnProcess, connection.Connection]] = {}
    waiting = list(range(len(jobs)))
    try:
        with scratch as folder, _ended(running):
            while waiting or running:
                while waiting and len(running) < at_once:
                    number = waiting.pop(0)
                    job = dataclasses.replace(jobs[number], folder=Path(folder, str(number)))
                    running[number] = _started(context, job, number, passed_ns)
                connection.wait([pipe for _, pipe in running.values()], timeout=LOOK_S)
                for number in [one for one, (_, pipe) in running.items() if pipe.poll()]:
                    process, pipe = running.pop(number)
                    done[number] = _received(process, pipe, jobs[number].column)
                told([at_ns / 1e9 for at_ns in passed_ns], [number in done for number in range(len(jobs))])
    except KeyboardInterrupt:
        pass
    return [done.get(number) or _not_played(job.column, INTERRUPTED) for number, job in enumerate(jobs)]


def was_interrupted(column: Column) -> bool:
    """Whether a column is empty because of Ctrl-C."""
    return column.reason == f"{INTERRUPTED}."


def _started(
    context: SpawnContext, job: Job, number: int, passed_ns: Shared
) -> tuple[SpawnProcess, connection.Connection]:
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(job, number, passed_ns, there), daemon=True)
    process.start()
    there.close()  # so that a process that dies closes the last one
    return process, here


@contextmanager
def _ended(running: dict[int, tuple[SpawnProcess, connection.Connection]]) -> Iterator[None]:
    """Whatever ends the block, nothing that it started runs on."""
    try:
        yield
    finally:
        for process, pipe in running.values():
            process.terminate()
            process.join(END_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


def _received(process: SpawnProcess, pipe: connection.Connection, column: Column) -> Column:
    try:
        found = pipe.recv()
    except EOFError:
        process.join(END_WITHIN_S)
        return _not_played(column, f"its process ended with code {process.exitcode}, and said nothing")
    finally:
        pipe.close()
    process.join(END_WITHIN_S)
    assert isinstance(found, Column), found
    return found


def _not_played(column: Column, why: str) -> Column:
    return replace(column, verdict="could not run", reason=f"{why}.")


def _play(job: Job, number: int, passed_ns: Shared, pipe: connection.Connection) -> None:
    """A process's whole work: play the variant and send its column."""
    end_with_whoever_started_us()

    def passed(at_ns: int) -> None:
        passed_ns[number] = at_ns

    try:
        found = play(job, passed)
    except OSError as error:
        found = _not_played(job.column, f"its history or report could not be written: {error}")
    pipe.send(found)
    pipe.close()


def play(job: Job, passed: Callable[[int], None] = lambda at_ns: None) -> Column:
    """Play one variant here; `passed` is told the simulated ns now and then. Raises OSError."""
    plan = Plan.decode(job.plan)
    segments = 0

    def on_segment(sent_ns: int, now_ns: int, source: str, target: str, data: bytes) -> None:
        # a clock would ask the simulated host: segments are counted instead
        nonlocal segments
        segments += 1
        if segments % TOLD_EVERY == 0:
            passed(now_ns)

    began_s, began_cpu_s = time.monotonic(), time.process_time()
    try:
        played = play_plan(plan, job.out or job.folder, on_segment)
    except (WorldFailed, NotModelled) as error:
        return _not_played(job.column, str(error))
    if job.out is not None:
        write_report(played.report, job.out)
    return _column(job.column, plan, played, wall_s=time.monotonic() - began_s, cpu_s=time.process_time() - began_cpu_s)


def _column(column: Column, plan: Plan, played: Played, *, wall_s: float, cpu_s: float) -> Column:
    return replace(
        column,
        verdict=played.report.verdict,
        reason=played.report.reason,
        figures=figures_of(played.index, played.report, plan, played.outcome.counters),
        wall_s=round(wall_s, 1),
        cpu_s=round(cpu_s, 1),
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        steps=played.outcome.steps,
        trace_sha256=played.outcome.trace_sha256,
    )
