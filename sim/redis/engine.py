"""One life of the data and all who are connected to it, without I/O: commands in, replies and records out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sim.errors import NotModelled
from sim.redis import collections, sorted_sets, streams, strings
from sim.redis.call import Call, Command, Words
from sim.redis.codec import Failure, Push, Reply
from sim.redis.disk import Logged, Record, RedisDisk
from sim.redis.errors import Refused
from sim.redis.keyspace import DATABASES, Keyspace
from sim.redis.settings import VERSION, RedisSettings

if TYPE_CHECKING:
    from sim.redis.session import Session

COMMANDS: dict[str, Command] = strings.COMMANDS | collections.COMMANDS | sorted_sets.COMMANDS | streams.COMMANDS
MISCONF = Failure("MISCONF Errors writing to the AOF file: No space left on device")
LOADING = Failure("LOADING Redis is loading the dataset in memory")


class Engine:
    """What all sessions share."""

    def __init__(self, settings: RedisSettings, *, run_id: str = "0" * 40, asked: Counter[str] | None = None) -> None:
        self.settings = settings
        self.asked: Counter[str] = Counter() if asked is None else asked
        """Commands that came, by their names."""
        self.keyspace = Keyspace()
        self.now_ms = 0
        """The moment of the turn, by the host's wall clock."""
        self.now_us = 0
        self.started_ms = 0
        self.is_loading = False
        self.has_write_error = False
        """The last write to the file found no room: whatever would write is refused."""
        self.sessions: dict[Session, None] = {}
        self.channels: dict[bytes, dict[Session, None]] = {}
        self.pending: list[Record] = []
        """What the turn's commands leave for the file."""
        self._run_id = run_id

    def load(self, disk: RedisDisk) -> None:
        """Have what the file holds; nothing expires while it is read."""
        self.keyspace.restore(disk.base)
        for record in disk.records:
            for db, words in record:
                name = words[0].decode().lower()
                COMMANDS[name].handler(Call(keyspace=self.keyspace, db=db, now_ms=0, words=words))

    def begin_turn(self, now_ns: int) -> None:
        """The moment of everything until the next turn; what has expired is gone."""
        self.now_us = now_ns // 1_000
        self.now_ms = now_ns // 1_000_000
        if not self.is_loading:
            for db, key in self.keyspace.expire(self.now_ms):
                self.log([(db, (b"DEL", key))])

    def answer(self, db: int, words: Words, logged: list[Logged]) -> Reply:
        """Do one command on the data; what it changes goes to `logged`."""
        call = Call(keyspace=self.keyspace, db=db, now_ms=self.now_ms, words=words)
        try:
            reply = COMMANDS[call.name].handler(call)
        except Refused as refused:
            reply = refused.failure
        logged += [(db, one) for one in call.logged]
        return reply

    def log(self, logged: list[Logged]) -> None:
        """Keep a record of what was changed."""
        if logged and self.settings.appendonly:
            self.pending.append(tuple(logged))

    def publish(self, channel: bytes, payload: bytes) -> int:
        """Tell all who have subscribed; answers how many."""
        listening = tuple(self.channels.get(channel, ()))
        for session in listening:
            session.tell(Push((b"message", channel, payload)))
        return len(listening)

    def left(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session, None)
        for channel in tuple(session.channels):
            self.unsubscribe(session, channel)
        session.unwatch()

    def unsubscribe(self, session: Session, channel: bytes) -> None:
        """Have a session hear a channel no more."""
        session.channels.pop(channel, None)
        listening = self.channels.get(channel, {})
        listening.pop(session, None)
        if not listening:
            self.channels.pop(channel, None)

    def watching_changed(self) -> None:
        """Somebody watches no more."""
        if not any(session.is_watching for session in self.sessions):
            self.keyspace.forget_versions()

    def info(self, section: str) -> bytes:
        """INFO's text. Raises NotModelled."""
        sections: dict[str, dict[str, object]] = {
            "server": {
                "redis_version": VERSION,
                "redis_mode": "standalone",
                "process_id": 1,
                "run_id": self._run_id,
                "tcp_port": 6379,
                "server_time_usec": self.now_us,
                "uptime_in_seconds": max(0, (self.now_ms - self.started_ms) // 1000),
            },
            "clients": {"connected_clients": len(self.sessions), "maxclients": 10_000, "blocked_clients": 0},
            "persistence": {
                "loading": int(self.is_loading),
                "aof_enabled": int(self.settings.appendonly),
                "aof_rewrite_in_progress": 0,
                "aof_last_bgrewrite_status": "ok",
                "aof_last_write_status": "err" if self.has_write_error else "ok",
            },
            "replication": {"role": "master", "connected_slaves": 0},
            "keyspace": {
                f"db{db}": f"keys={self.keyspace.size(db)},expires={self.keyspace.expiring(db)},avg_ttl=0"
                for db in range(DATABASES)
                if self.keyspace.size(db)
            },
        }
        asked = section.lower()
        if asked in ("default", "all", "everything"):
            chosen = list(sections)
        elif asked in sections:
            chosen = [asked]
        else:
            raise NotModelled(f"expected a section of INFO among {', '.join(sections)}, got {section}")
        texts = [
            f"# {name.capitalize()}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in sections[name].items())
            for name in chosen
        ]
        return "\r\n".join(texts).encode()
