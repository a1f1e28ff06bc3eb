"""One measured step in a process of its own: `write N FILE`, `judge FILE`, or `decode FILE`, the bare baseline.

It prints one JSON object: the processor time and the time on the clock in s, and the largest memory in MB (2^20).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from reports.api import judge
from reports.bench.source import Shape, correct_history
from reports.history import HistoryReader, encode

KIB_A_MB = 1024


def main(words: list[str]) -> None:
    """Do what the words say, and print what it took. Raises AssertionError if a correct history is not held."""
    what, *rest = words
    steps: dict[str, Callable[..., None]] = {"write": _write, "judge": _judge, "decode": _decode}
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    steps[what](*rest)
    took = {
        "cpu_s": round(time.process_time() - cpu_began_s, 3),
        "wall_s": round(time.perf_counter() - began_s, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_A_MB, 1),
    }
    sys.stdout.write(json.dumps(took) + "\n")


def _write(deliveries: str, path: str) -> None:
    with Path(path).open("wb") as file:
        for record in correct_history(Shape(deliveries=int(deliveries))):
            file.write(encode(record))


def _judge(path: str) -> None:
    report = judge(Path(path))
    assert report.verdict == "held", report.reason


def _decode(path: str) -> None:
    assert sum(1 for _ in HistoryReader(Path(path))) > 0


if __name__ == "__main__":
    main(sys.argv[1:])
