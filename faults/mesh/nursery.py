"""Where agents are born: a process that has everything loaded and forks one process for each life of an agent.

A Python that starts from nothing takes a third of a second of processor time and 37 MB; a fork takes milliseconds and
shares what is loaded, so that agents can be killed and born again by the hundred. The nursery runs no event loop and no
thread, for these do not survive a fork. It is a child of the stack's watchdog, and its forks end with the stack, too;
they end also when the connection that asked for them does.

    owner ── {"request": 1, "life": {…}} ─▶ nursery ── {"request": 1, "pid": 77} ─▶ owner
          ── {"signal": 9, "pid": 77} ────▶         ── {"ended": 77, "code": -9} ─▶
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from faults.mesh.life import LINE_BYTES_MAX, Life, live


def main(path: Path) -> None:
    """Serve the one owner that connects to this socket, until it closes the connection."""
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler there is no wake-up
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    listener = socket.socket(socket.AF_UNIX)
    unready = path.with_suffix(".new")
    listener.bind(str(unready))
    unready.chmod(0o600)
    listener.listen(1)
    unready.rename(path)  # whoever sees it can connect
    gc.collect()
    gc.freeze()  # what is loaded stays shared: no collection of a fork's touches it
    owner, _ = listener.accept()
    listener.close()
    nursery = Nursery(owner, waking)
    try:
        nursery.serve()
    except BrokenPipeError:
        pass  # the owner is gone between its request and our answer
    finally:
        nursery.end_all()


class Nursery:
    """Forks lives, tells of their ends, and ends them all."""

    def __init__(self, owner: socket.socket, waking: int) -> None:
        self._owner = owner
        self._waking = waking
        self._alive: set[int] = set()

    def serve(self) -> None:
        """Take requests until the owner closes. Raises BrokenPipeError."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._owner, selectors.EVENT_READ)
            selector.register(self._waking, selectors.EVENT_READ)
            pending = b""
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._waking in ready:
                    os.read(self._waking, 4096)
                    for pid, code in self._ended():
                        self._tell({"ended": pid, "code": code})
                if self._owner.fileno() in ready:
                    chunk = self._owner.recv(65536)
                    if not chunk:
                        return
                    *lines, pending = (pending + chunk).split(b"\n")
                    assert len(pending) <= LINE_BYTES_MAX, "a request that never ends"
                    for line in lines:
                        self._take(json.loads(line))

    def _take(self, request: dict[str, Any]) -> None:
        if "signal" in request:
            if request["pid"] in self._alive:  # not yet reaped, so the pid can be nobody else's
                os.kill(request["pid"], request["signal"])
            return
        pid = os.fork()
        if pid == 0:
            self._be_born(msgspec.convert(request["life"], Life))
        self._alive.add(pid)
        self._tell({"request": request["request"], "pid": pid})

    def _be_born(self, life: Life) -> None:
        """The child: forget the nursery, live, and end without returning to it."""
        code = 70  # EX_SOFTWARE: only if what is below raises
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._owner.close()
            os.close(self._waking)
            code = live(life)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _ended(self) -> Iterator[tuple[int, int]]:
        while self._alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._alive.discard(pid)
            yield pid, os.waitstatus_to_exitcode(status)

    def _tell(self, answer: dict[str, Any]) -> None:
        self._owner.sendall(json.dumps(answer).encode() + b"\n")

    def end_all(self) -> None:
        """SIGKILL whoever is alive, and reap them."""
        for pid in sorted(self._alive):
            os.kill(pid, signal.SIGKILL)
        for pid in sorted(self._alive):
            os.waitpid(pid, 0)
        self._alive.clear()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
