"""Processes that play worlds for another one, and end when it does, however it ended."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import NoReturn

ORPHANED = 1
"""What such a process exits with."""


@contextmanager
def local_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of this machine, each started afresh: a fork would inherit threads and locks.

    If their work is given up in the middle, they are ended at once.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_whoever_started_us) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def end_with_whoever_started_us() -> None:
    """From now on this process ends, whatever it does, when the one that started it has: also by SIGTERM or SIGKILL,
    after which nobody else would tell it. What its worlds write goes with it.
    """
    starter = multiprocessing.parent_process()
    assert starter is not None, "expected a process that multiprocessing started"
    tempfile.tempdir = scratch = tempfile.mkdtemp(prefix="meshrelay-worker-")
    multiprocessing.util.Finalize(None, _remove, args=(scratch,), exitpriority=0)
    signal.signal(signal.SIGTERM, lambda *_: _go(scratch))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the starter decides what it ends
    threading.Thread(target=_end_after, args=(starter, scratch), name="end-with-starter", daemon=True).start()


def _end_after(starter: BaseProcess, scratch: str) -> None:
    starter.join()
    _go(scratch)


def _go(scratch: str) -> NoReturn:
    _remove(scratch)
    os._exit(ORPHANED)


def _remove(scratch: str) -> None:
    for _ in range(2):  # the world goes on meanwhile, and may have written a file into what was just emptied
        shutil.rmtree(scratch, ignore_errors=True)
