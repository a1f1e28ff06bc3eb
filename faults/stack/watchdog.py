"""The watchdog: a small process that starts the stack's servers and ends them when its owner is gone.

It is the parent of every server, takes requests as JSON lines on its standard input, and answers each with one line.
When that pipe closes, for whatever reason (a normal end, an exception, Ctrl-C, SIGTERM, SIGKILL of the owner), it kills
what it started, with all descendants, and removes the run folder. One path serves every way to end, so each test
of a normal end also tests the others.

Why a process with a pipe, and not PR_SET_PDEATHSIG: that signal is Linux's alone, follows the *thread* that forked
(an executor's thread may end long before its process), is cleared by a change of uid, and removes no files. Why the
watchdog starts the servers itself: a pid that its owner reports afterwards is lost if the owner dies in between.

It runs as a script, without importing the project, and signals no process but its own descendants. On Linux it is
their subreaper too: orphans (Postgres's backends leave its process group) come to it, so it misses none at the end.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

OWNER_CHECK_S = 1.0
"""How often the owner's pid is looked at: a fork of the owner may hold the pipe open after its death."""
FAREWELL_S = 3.0
"""How long a server with a farewell signal gets to free what SIGKILL would leave behind."""
REAP_S = 10.0
"""A process that survives SIGKILL for this long hangs in the kernel; nothing more can be done here."""
REMOVE_TRIES = 20
"""Tries, 50 ms apart, to remove the run folder: a dying grandchild may still write into it."""

FILLER = "filler"
"""The file that takes all room on a disk that is to be full."""


def main(owner_pid: int, doomed_dir: Path | None) -> None:
    """Serve requests until the owner is gone, then end everything; `doomed_dir` is made first and removed last."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children, disks = Children(), Disks()
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "start": children.start,
        "poll": children.poll,
        "signal": children.signal,
        "disk": disks.mount,
        "fill": disks.fill,
        "free": disks.free,
    }
    try:
        if doomed_dir is not None:
            doomed_dir.mkdir(mode=0o700)
            doomed_dir.chmod(0o711)  # another uid, Postgres's, must be able to enter
        _tell({})
        for line in requests(owner_pid):
            children.reap_adopted()
            if not line:
                continue
            request = json.loads(line)
            number, operation = request.pop("request"), operations[request.pop("op")]
            _tell(operation(**request) | {"request": number})
    except BrokenPipeError:
        pass  # the owner died between its request and our answer: go on to the end
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        children.end_all()
        disks.unmount_all()
        if doomed_dir is not None:
            remove(doomed_dir)


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def requests(owner_pid: int) -> Iterator[bytes]:
    """The request lines on standard input, until it closes or the owner is gone; an empty line where none came."""
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], OWNER_CHECK_S)
        if not readable:
            if os.getppid() != owner_pid:
                return
            yield b""
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


class Children:
    """The processes started here; a pid is reaped only when it is asked for, so it can't be reused unnoticed."""

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._farewells: dict[int, int] = {}
        self._shm_files: set[str] = set()

    def start(
        self,
        *,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        log: str,
        user: int | None,
        farewell: int | None,
        shm_file: str | None,
    ) -> dict[str, Any]:
        """Start a process in a session of its own, with its output appended to `log`."""
        other: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        try:
            with Path(log).open("ab") as output:
                process = subprocess.Popen(
                    argv,
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C at the owner's terminal must not reach it
                    **other,
                )
        except OSError as error:
            return {"error": str(error)}
        self._running[process.pid] = process
        if farewell is not None:
            self._farewells[process.pid] = farewell
        if shm_file is not None:
            self._shm_files.add(shm_file)
        return {"pid": process.pid}

    def poll(self, *, pid: int) -> dict[str, Any]:
        """Whether the process has ended; its return code is told once, then its pid is forgotten."""
        returncode = self._running[pid].poll()
        if returncode is not None:
            del self._running[pid]
            self._farewells.pop(pid, None)
        return {"returncode": returncode}

    def signal(self, *, pid: int, number: int) -> dict[str, Any]:
        """Signal a process; KILL, STOP and CONT take its whole tree (Postgres has one process a connection)."""
        if pid not in self._running or self._running[pid].returncode is not None:
            return {"error": f"pid {pid} is not running"}
        if number == signal.SIGKILL:
            kill_tree(pid)
        elif number == signal.SIGSTOP:
            for process in _descendants_once_stopped(pid):
                _send(process, number)
        elif number == signal.SIGCONT:
            for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                _send(process, number)
        else:
            self._running[pid].send_signal(number)
        return {}

    def reap_adopted(self) -> None:
        """Reap orphaned grandchildren, such as a killed Postgres's backends; not every container's init does so."""
        while sys.platform == "linux":  # elsewhere orphans are never handed to us
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in self._running:
                return
            os.waitpid(ended.si_pid, 0)

    def end_all(self) -> None:
        """End every process: those with a farewell get some time, then every descendant is killed."""
        for pid, number in self._farewells.items():
            self.signal(pid=pid, number=signal.SIGCONT)
            self._running[pid].send_signal(number)
        deadline = time.monotonic() + FAREWELL_S
        for pid in self._farewells:
            try:
                self._running[pid].wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        deadline = time.monotonic() + REAP_S
        while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
            for process in left:
                _send(process, signal.SIGKILL)
            for process in left:
                _reap_nowait(process.pid)
            time.sleep(0.01)
        for path in self._shm_files:
            free_shared_memory(Path(path))


class Disks:
    """Small disks (tmpfs) for servers that are to run out of room.

    They are mounted in a mount namespace that the watchdog enters with the first of them and hands down to what it
    starts: nobody else sees them, and they go with the last of these processes, whatever ends it.
    """

    def __init__(self) -> None:
        self._mounted: list[Path] = []

    def mount(self, *, path: str, size_bytes: int, user: int | None) -> dict[str, Any]:
        """Mount an empty disk of this size on a folder, to be written by this uid."""
        owner = os.getuid() if user is None else user
        options = f"size={size_bytes},mode=0700,uid={owner},gid={os.getgid() if user is None else user}"
        try:
            if not self._mounted:
                _enter_namespace()
            _mount("tmpfs", path, "tmpfs", 0, options)
        except OSError as error:
            return {"error": f"a tmpfs could not be mounted: {error}"}
        self._mounted.append(Path(path))
        return {}

    def fill(self, *, path: str) -> dict[str, Any]:
        """Take all room that there is on a disk; what a server frees meanwhile is there to be taken again."""
        filler, is_refused = Path(path) / FILLER, False
        with filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        return {"error": str(error)}
                    is_refused = True
        return {"taken_bytes": filler.stat().st_size, "free_bytes": _free_bytes(path), "is_refused": is_refused}

    def free(self, *, path: str) -> dict[str, Any]:
        """Give the room back."""
        (Path(path) / FILLER).unlink(missing_ok=True)
        return {"free_bytes": _free_bytes(path)}

    def unmount_all(self) -> None:
        """Unmount every disk, so that the folders they are mounted on can be removed."""
        detach = 2
        for path in self._mounted:
            ctypes.CDLL(None).umount2(os.fsencode(path), detach)


def _free_bytes(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _enter_namespace() -> None:
    """A mount namespace of our own; without root, in a user namespace in which we are who we are. Raises OSError."""
    new_mounts, new_users, private = 0x00020000, 0x10000000, 0x4000 | 0x40000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_mounts):
        uid, gid = os.getuid(), os.getgid()
        if libc.unshare(new_users | new_mounts):
            raise OSError(ctypes.get_errno(), "no mount namespace: " + os.strerror(ctypes.get_errno()))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("none", "/", None, private, None)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else word.encode() for word in (kind, options)]
    if libc.mount(source.encode(), os.fsencode(target), words[0], ctypes.c_ulong(flags), words[1]):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its descendants; it is stopped first, so that it can't fork behind our back."""
    for process in [*_descendants_once_stopped(pid), psutil.Process(pid)]:
        _send(process, signal.SIGKILL)


def _descendants_once_stopped(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    _send(root, signal.SIGSTOP)
    descendants: list[psutil.Process] = root.children(recursive=True)
    return descendants


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass  # it ended by itself in the meantime, which is what any of these signals may race with


def _reap_nowait(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # a grandchild: its parent's death hands it to us, or to init


def free_shared_memory(postmaster_pid_file: Path) -> None:
    """Remove the System V segment that a SIGKILLed Postgres left: key and id are on line 7 of its pid file."""
    try:
        _key, segment = postmaster_pid_file.read_text().splitlines()[6].split()
    except (OSError, IndexError, ValueError):
        return  # a clean shutdown removed the file, or it never came so far
    ipc_rmid = 0
    ctypes.CDLL(None).shmctl(int(segment), ipc_rmid, None)


def remove(folder: Path) -> None:
    """Remove the folder; a dying process may still write into it, hence the tries."""
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
