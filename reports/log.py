"""One client's doings as rows of numbers: what a follower goes through, in the order of the history."""

from __future__ import annotations

from array import array
from enum import IntEnum

from reports.events import NONE
from reports.history import Connect, Gap, Gone


class Op(IntEnum):
    """What a row of an agent's log is; the comment is what its columns `a` and `b` hold."""

    CONNECT = 0  # a: note
    CONNECTED = 1  # a: status
    DELIVER = 2  # a: position, b: event, c: addressee
    BOOKMARK = 3  # a: position
    NOTICE = 4  # a: note
    DISCONNECT = 5
    ACKED = 6  # a: position


class Log:
    """One client's doings, in the order of the history; most agents have one."""

    def __init__(self, agent: str, name: int) -> None:
        self.agent = agent
        self.name = name
        self.op = bytearray()
        self.t_ns = array("q")
        self.conn = array("i")
        self.a = array("q")
        self.b = array("i")
        self.c = array("i")
        self.record = array("q")
        self.notes: list[Connect | Gap | Gone] = []
        self.acked_max: dict[int, int] = {}
        """By the row of a connection that presents no cursor: the furthest that anybody can have acknowledged for the
        agent by then, where histories tell what clients save; for they acknowledge nothing else."""
        self.is_choosy = False
        """It has asked for some types only: its bookmarks may come in a replay, where others have events."""
        self.conns: list[str] = []
        self._conn_of: dict[str, int] = {}
        self.token_ends_ns: dict[int, int] = {}
        """By connection, when the token that opened it ends, where that is told."""

    def add(self, op: Op, record: int, t_ns: int, conn: str, a: int = NONE, b: int = NONE, c: int = NONE) -> None:
        """Append one row; `conn` is empty for what belongs to no connection."""
        number = self._conn_of.get(conn) if conn else NONE
        if number is None:
            number = self._conn_of[conn] = len(self.conns)
            self.conns.append(conn)
        self.op.append(op)
        self.t_ns.append(t_ns)
        self.conn.append(number)
        self.a.append(a)
        self.b.append(b)
        self.c.append(c)
        self.record.append(record)

    def number_of(self, conn: str) -> int:
        """The number of a connection; NONE if no row names it."""
        return self._conn_of.get(conn, NONE)

    def note(self, record: Connect | Gap | Gone) -> int:
        """Keep a record that is more than numbers; answers its place in `notes`."""
        self.notes.append(record)
        self.is_choosy = self.is_choosy or (isinstance(record, Connect) and bool(record.types))
        return len(self.notes) - 1
