"""Processes that play worlds for another one, and end when it does, however it ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess

ORPHANED = 1
"""What such a process exits with."""


def local_pool(jobs: int) -> ProcessPoolExecutor:
    """Processes of this machine, each started afresh: a fork would inherit threads and locks."""
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_whoever_started_us
    )


def end_with_whoever_started_us() -> None:
    """From now on this process ends, whatever it does, when the one that started it has: also by SIGTERM or SIGKILL,
    after which nobody else would tell it.
    """
    starter = multiprocessing.parent_process()
    assert starter is not None, "expected a process that multiprocessing started"
    threading.Thread(target=_end_after, args=(starter,), name="end-with-starter", daemon=True).start()


def _end_after(starter: BaseProcess) -> None:
    starter.join()
    os._exit(ORPHANED)
