"""One client's side of the engine: who it is, its transaction, what it watches and what it hears. It does no I/O.

The order of what a command is refused for is the real one's (processCommand in server.c of 6.2).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

from sim.errors import NotModelled
from sim.redis import codec
from sim.redis.call import Words, option, pattern, whole
from sim.redis.codec import OK, PONG, QUEUED, Failure, Fields, Push, Reply, Status, Verbatim
from sim.redis.disk import Logged
from sim.redis.engine import COMMANDS, LOADING, MISCONF, Engine
from sim.redis.errors import Refused, syntax, wrong_arguments
from sim.redis.keyspace import DATABASES, Watched
from sim.redis.settings import VERSION

WRONG_PASSWORD = Refused("invalid username-password pair or user is disabled.", "WRONGPASS")
NO_PASSWORD = Refused(
    "AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
UNKNOWN_HELLO = Refused(
    "HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be "
    "used to authenticate the client and select the RESP protocol version at the same time",
    "NOAUTH",
)
BAD_NAME = Refused("Client names cannot contain spaces, newlines or special characters.")
UNKNOWN_TO_IT = ("SETINFO", "MAINT_NOTIFICATIONS", "NO-TOUCH", "NO-EVICT")
"""What clients of later servers ask CLIENT for, and this release does not know."""


class Own(NamedTuple):
    """A command of the session's own."""

    method: str
    arity: int
    while_loading: bool = False
    at_once: bool = False
    """Done at once, also within a transaction."""
    to_anybody: bool = False
    """Also to somebody who has not given the password."""
    to_listeners: bool = False
    """Also in version 2 to somebody who has subscribed."""

    def takes(self, count: int) -> bool:
        """Whether it may have so many words."""
        return count == self.arity if self.arity > 0 else count >= -self.arity


OWN = {
    "auth": Own("_auth", -2, while_loading=True, to_anybody=True),
    "client": Own("_client", -2, while_loading=True),
    "config": Own("_config", -2, while_loading=True),
    "discard": Own("_discard", 1, while_loading=True, at_once=True),
    "echo": Own("_echo", 2),
    "exec": Own("_exec", 1, while_loading=True, at_once=True),
    "hello": Own("_hello", -1, while_loading=True, to_anybody=True),
    "info": Own("_info", -1, while_loading=True),
    "multi": Own("_multi", 1, while_loading=True, at_once=True),
    "ping": Own("_ping", -1, to_listeners=True),
    "publish": Own("_publish", 3, while_loading=True),
    "quit": Own("_quit", 1, while_loading=True, at_once=True, to_anybody=True, to_listeners=True),
    "select": Own("_select", 2, while_loading=True),
    "subscribe": Own("_subscribe", -2, while_loading=True, to_listeners=True),
    "time": Own("_time", 1, while_loading=True),
    "unsubscribe": Own("_unsubscribe", -1, while_loading=True, to_listeners=True),
    "unwatch": Own("_unwatch", 1, while_loading=True),
    "watch": Own("_watch", -2, while_loading=True, at_once=True),
}
SILENT = Status("")
"""What was answered already, or is not answered."""


class Session:
    """One connection's state."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.channels: dict[bytes, None] = {}
        self.is_over = False
        """It has said goodbye."""
        self.is_known = not engine.settings.password
        self.told: list[bytes] = []
        """What is to be sent, in order."""
        self._engine = engine
        self._number = number
        self._protocol = 2
        self._name = b""
        self._db = 0
        self._queue: list[Words] | None = None
        self._is_spoiled = False
        self._watched: dict[Watched, int] = {}
        self._logged: list[Logged] = []

    def __hash__(self) -> int:
        return self._number

    @property
    def is_watching(self) -> bool:
        """Whether it watches a key."""
        return bool(self._watched)

    def tell(self, reply: Reply) -> None:
        """Send something."""
        self.told.append(codec.encoded(reply, self._protocol))

    def take(self, request: codec.Request) -> None:
        """Do what the client asks for. Raises NotModelled for a command that the model does not have."""
        words = tuple(request)
        name = words[0].decode("latin-1").lower()
        self._engine.asked[name] += 1
        own, data = OWN.get(name), COMMANDS.get(name)
        command = own or data
        if command is None:
            raise NotModelled(f"expected a command that is modelled, got {b' '.join(words[:4])!r}")
        refusal = self._refusal(name, words)
        if refusal is not None:
            self._refused(name, refusal)
        elif self._queue is not None and not (own and own.at_once):
            if name in ("subscribe", "unsubscribe"):
                raise NotModelled(f"expected no {name} within a transaction")
            self._queue.append(words)
            self.tell(QUEUED)
        else:
            self._logged = []
            self._do(name, words)
            self._engine.log(self._logged)

    def unwatch(self) -> None:
        """Watch nothing any more."""
        if self._watched:
            self._watched.clear()
            self._engine.watching_changed()

    def _refusal(self, name: str, words: Words) -> Failure | None:
        own, data = OWN.get(name), COMMANDS.get(name)
        command = own or data
        assert command is not None
        if not command.takes(len(words)):
            return wrong_arguments(name).failure
        if not self.is_known and not (own and own.to_anybody):
            return Failure("NOAUTH Authentication required.")
        if self._engine.has_write_error and (name == "ping" or self._writes(name)):
            return MISCONF
        if self._protocol == 2 and self.channels and not (own and own.to_listeners):
            return Failure(
                f"ERR Can't execute '{name}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
                "in this context"
            )
        if self._engine.is_loading and not command.while_loading:
            return LOADING
        return None

    def _writes(self, name: str) -> bool:
        queued = [words[0].decode().lower() for words in self._queue or ()] if name == "exec" else [name]
        return any(one in COMMANDS and COMMANDS[one].is_write for one in queued)

    def _refused(self, name: str, refusal: Failure) -> None:
        if name == "exec":
            self._end_transaction()
            self.tell(Failure(f"EXECABORT Transaction discarded because of: {refusal.removeprefix('ERR ')}"))
            return
        self._is_spoiled = self._queue is not None
        self.tell(refusal)

    def _do(self, name: str, words: Words) -> None:
        own = OWN.get(name)
        if own is None:
            self.tell(self._engine.answer(self._db, words, self._logged))
            return
        method: Callable[[Words], Reply] = getattr(self, own.method)
        try:
            reply = method(words)
        except Refused as refused:
            reply = refused.failure
        if reply is not SILENT:
            self.tell(reply)

    # Transactions

    def _multi(self, _: Words) -> Reply:
        if self._queue is not None:
            raise Refused("MULTI calls can not be nested")
        self._queue, self._is_spoiled = [], False
        return OK

    def _exec(self, _: Words) -> Reply:
        if self._queue is None:
            raise Refused("EXEC without MULTI")
        queue, is_spoiled = self._queue, self._is_spoiled
        is_changed = any(self._engine.keyspace.version(one) != seen for one, seen in self._watched.items())
        self._end_transaction()
        if is_spoiled:
            raise Refused("Transaction discarded because of previous errors.", "EXECABORT")
        if is_changed:
            return codec.NULL_LIST
        self.told.append(b"*%d\r\n" % len(queue))
        for words in queue:
            self._do(words[0].decode("latin-1").lower(), words)
        return SILENT

    def _discard(self, _: Words) -> Reply:
        if self._queue is None:
            raise Refused("DISCARD without MULTI")
        self._end_transaction()
        return OK

    def _end_transaction(self) -> None:
        self._queue, self._is_spoiled = None, False
        self.unwatch()

    def _watch(self, words: Words) -> Reply:
        if self._queue is not None:
            raise Refused("WATCH inside MULTI is not allowed")
        for key in words[1:]:
            watched = self._db, key
            self._watched.setdefault(watched, self._engine.keyspace.version(watched))
        return OK

    def _unwatch(self, _: Words) -> Reply:
        self.unwatch()
        return OK

    # Publishing and hearing

    def _publish(self, words: Words) -> Reply:
        return self._engine.publish(words[1], words[2])

    def _subscribe(self, words: Words) -> Reply:
        for channel in words[1:]:
            self.channels[channel] = None
            self._engine.channels.setdefault(channel, {})[self] = None
            self.tell(Push((b"subscribe", channel, len(self.channels))))
        return SILENT

    def _unsubscribe(self, words: Words) -> Reply:
        which = words[1:] or tuple(self.channels)
        for channel in which:
            self._engine.unsubscribe(self, channel)
            self.tell(Push((b"unsubscribe", channel, len(self.channels))))
        if not which:
            self.tell(Push((b"unsubscribe", None, 0)))
        return SILENT

    # The connection

    def _ping(self, words: Words) -> Reply:
        if len(words) > 2:
            raise wrong_arguments("ping")
        if self._protocol == 2 and self.channels:
            return [b"pong", words[1] if len(words) == 2 else b""]
        return words[1] if len(words) == 2 else PONG

    def _echo(self, words: Words) -> Reply:
        return words[1]

    def _quit(self, _: Words) -> Reply:
        self.is_over = True
        return OK

    def _select(self, words: Words) -> Reply:
        db = whole(words[1])
        if not 0 <= db < DATABASES:
            raise Refused("DB index is out of range")
        self._db = db
        return OK

    def _auth(self, words: Words) -> Reply:
        if len(words) > 3:
            raise syntax()
        if len(words) == 2 and not self._engine.settings.password:
            raise NO_PASSWORD
        self._give(words[1] if len(words) == 3 else b"default", words[-1])
        return OK

    def _give(self, user: bytes, password: bytes) -> None:
        wanted = self._engine.settings.password.encode()
        if user != b"default" or (wanted and not hmac.compare_digest(wanted, password)):
            raise WRONG_PASSWORD
        self.is_known = True

    def _hello(self, words: Words) -> Reply:
        protocol, at = None, 2
        if len(words) > 1:
            number = codec.integer(words[1])
            if number is None:
                raise Refused("Protocol version is not an integer or out of range")
            if number not in (2, 3):
                raise Refused("unsupported protocol version", "NOPROTO")
            protocol = number
        while at < len(words):
            word, left = option(words[at]), len(words) - at - 1
            if word == "AUTH" and left >= 2:
                self._give(words[at + 1], words[at + 2])
                at += 3
            elif word == "SETNAME" and left:
                self._be_called(words[at + 1])
                at += 2
            else:
                raise Refused(f"Syntax error in HELLO option '{words[at].decode('latin-1')}'")
        if not self.is_known:
            raise UNKNOWN_HELLO
        self._protocol = protocol or self._protocol
        told: list[tuple[Reply, Reply]] = [(b"server", b"redis"), (b"version", VERSION.encode())]
        told += [(b"proto", self._protocol), (b"id", self._number), (b"mode", b"standalone"), (b"role", b"master")]
        return Fields((*told, (b"modules", [])))

    def _be_called(self, name: bytes) -> None:
        if not all(33 <= one <= 126 for one in name):
            raise BAD_NAME
        self._name = name

    def _client(self, words: Words) -> Reply:
        match option(words[1]), words[2:]:
            case "SETNAME", (name,):
                self._be_called(name)
                return OK
            case "GETNAME", ():
                return self._name or None
            case "ID", ():
                return self._number
            case word, _ if word in UNKNOWN_TO_IT:
                asked = words[1].decode("latin-1")
                raise Refused(f"Unknown subcommand or wrong number of arguments for '{asked}'. Try CLIENT HELP.")
        raise NotModelled(f"expected CLIENT SETNAME, GETNAME or ID, got {words!r}")

    # The server

    def _config(self, words: Words) -> Reply:
        if option(words[1]) != "GET" or len(words) != 3:
            raise NotModelled(f"expected CONFIG GET and a name, got {words!r}")
        wanted = pattern(words[2].lower())
        told = self._engine.settings.told()
        found = [(name, value) for name, value in sorted(told.items()) if wanted.fullmatch(name)]
        if b"*" in words[2] or b"?" in words[2] or not found:
            raise NotModelled(f"expected the name of a setting that is modelled, got CONFIG GET {words[2]!r}")
        return Fields(found)

    def _info(self, words: Words) -> Reply:
        if len(words) > 2:
            raise syntax()
        return Verbatim(self._engine.info(words[1].decode("latin-1") if len(words) == 2 else "default"))

    def _time(self, _: Words) -> Reply:
        return [b"%d" % part for part in divmod(self._engine.now_us, 1_000_000)]
