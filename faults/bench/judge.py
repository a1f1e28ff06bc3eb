"""The judge: what a verdict on a long history takes, beside only reading its records.

No server takes part. Each step is a process of its own, so that its largest memory is its alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from faults.bench.child import ChildFailed
from faults.bench.figures import Figure, Target
from faults.bench.progress import Progress
from faults.bench.suite import Report, reported

DELIVERIES, DELIVERIES_QUICK = 1_000_000, 20_000
CPU_S_MAX, PEAK_MB_MAX = 60.0, 1_024.0


def measure(progress: Progress, runs: int, is_quick: bool) -> Report:
    """Processor time and memory of judging so many deliveries. Raises ChildFailed."""
    load_before = os.getloadavg()[0]
    deliveries = DELIVERIES_QUICK if is_quick else DELIVERIES
    said: dict[str, Any] = {
        "ours": f"a generated history of {deliveries:,} deliveries to 50 agents, judged",
        "bare": "its records read, and nothing else",
        "more_is_better": False,
    }
    time = Figure(name="judging a history", unit="CPU s", target=Target(ours_max=CPU_S_MAX), **said)
    memory = Figure(name="memory of judging", unit="MB", target=Target(ours_max=PEAK_MB_MAX), **said)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        progress.say(f"writing a history of {deliveries:,} deliveries")
        _step("write", str(deliveries), str(path))
        for _ in progress.runs(time.name, runs):
            judged, read = _step("judge", str(path)), _step("decode", str(path))
            time.add(ours=judged["cpu_s"], bare=read["cpu_s"])
            memory.add(ours=judged["peak_mb"], bare=read["peak_mb"])
    return reported([time, memory], runs=runs, is_quick=is_quick, load_before=load_before, versions={})


def _step(*words: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "reports.bench", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildFailed(f"{words[0]}: {done.stderr.strip().splitlines()[-1:]}")
    took: dict[str, float] = json.loads(done.stdout)
    return took
