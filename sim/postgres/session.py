"""One session of a client: the protocol's state and the transaction, as a generator that yields what it waits for.

`main` reads messages, runs statements and collects the answers' bytes; the host resumes it when what it waits for has
come, throws a ServerError into it to interrupt a statement, or closes it, which rolls back. Messages behind a failed
one are ignored until Sync; what Parse begins outside a transaction block lasts until Sync, and so does its `now()`.

Source: PostgreSQL documentation, 54.2; `postgres.c`, `xact.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sim.errors import NotModelled
from sim.postgres import codec
from sim.postgres.blocks import Block
from sim.postgres.control import Control, Verb, control_of
from sim.postgres.engine import Engine
from sim.postgres.errors import TRANSACTION_ABORTED, ServerError, fatal
from sim.postgres.statement import Statement
from sim.postgres.statements import REGISTRY
from sim.postgres.tables import Transaction
from sim.postgres.waits import RECEIVED, Waiting

TEXT_FORMAT, BINARY_FORMAT = 0, 1
_REFUSED_ONCE_FAILED = (Verb.BEGIN, Verb.SAVEPOINT, Verb.RELEASE)


class Portal(NamedTuple):
    """A statement with its values; what it answered and was not asked for yet."""

    prepared: Statement | Control
    values: tuple[Any, ...]
    rest: list[bytes]
    tags: list[str]
    """The tag, once it ran."""


class Door(NamedTuple):
    """What a session needs of its server when a client comes in."""

    greet: Callable[[codec.StartUp, str | None], Iterable[bytes]]
    """The answer to a start-up and password; raises ServerError FATAL."""
    wants_password: bool
    cancel: Callable[[codec.Cancel], None]
    on_unknown: Callable[[str], None]
    """Told of texts that are not modelled."""


class Session:
    """The state of one connection."""

    def __init__(self, engine: Engine, door: Door, now_ns: Callable[[], int]) -> None:
        self._block = Block(engine, now_ns, self._warn)
        self._engine = engine
        self._door = door
        self._decoder = codec.FrontendDecoder()
        self._out: list[bytes] = []
        self._flushed = 0
        self._ignoring = False
        self._statements: dict[str, Statement | Control] = {}
        self._portals: dict[str, Portal] = {}

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._decoder.feed(data)

    @property
    def transaction(self) -> Transaction | None:
        """The transaction that is open, if any."""
        return self._block.transaction

    def take_output(self) -> bytes:
        """The bytes to send now; what is not flushed yet stays."""
        data = b"".join(self._out[: self._flushed])
        del self._out[: self._flushed]
        self._flushed = 0
        return data

    def main(self) -> Waiting[None]:
        """The session, from its first byte to its last."""
        try:
            if not (yield from self._enter()):
                return
            while True:
                message = yield from self._next()
                if isinstance(message, codec.Terminate):
                    return
                yield from self._handle(message)
        except ServerError as error:
            self._send(codec.error_response(error.fields()))
            self._flush()
        finally:
            self._block.abandon()

    # coming in

    def _enter(self) -> Waiting[bool]:
        while True:
            message = yield from self._next()
            if isinstance(message, codec.EncryptionRequest):
                self._send(codec.ENCRYPTION_REFUSED)
                self._flush()
            elif isinstance(message, codec.Cancel):
                self._door.cancel(message)
                return False
            else:
                break
        if not isinstance(message, codec.StartUp):
            raise NotModelled(f"expected a start-up, got {message}")
        password = None
        if self._door.wants_password:
            self._send(codec.CLEARTEXT_PASSWORD)
            self._flush()
            answer = yield from self._next()
            if not isinstance(answer, codec.Password):
                raise fatal("08P01", "expected password response")
            password = answer.text
        for data in self._door.greet(message, password):
            self._send(data)
        self._ready()
        return True

    def _next(self) -> Waiting[codec.FrontendMessage]:
        while (message := self._decoder.next_message()) is None:
            yield RECEIVED
        return message

    def _send(self, data: bytes) -> None:
        self._out.append(data)

    def _flush(self) -> None:
        self._flushed = len(self._out)

    def _warn(self, warning: ServerError) -> None:
        self._send(codec.error_response(warning.fields(), notice=True))

    def _ready(self) -> None:
        self._send(codec.ready_for_query(self._block.status))
        self._flush()

    # messages

    def _handle(self, message: codec.FrontendMessage) -> Waiting[None]:
        if self._ignoring and not isinstance(message, codec.Sync):
            return
        try:
            match message:
                case codec.Query(text):
                    yield from self._query(text)
                case codec.Parse():
                    self._parse(message)
                case codec.Describe(kind, name):
                    self._describe(kind, name)
                case codec.Bind():
                    self._bind(message)
                case codec.Execute(portal, rows_max):
                    yield from self._execute(portal, rows_max)
                case codec.Close(kind, name):
                    (self._statements if kind == "S" else self._portals).pop(name, None)
                    self._send(codec.CLOSE_COMPLETE)
                case codec.Sync():
                    self._ignoring = False
                    yield from self._block.end_implicit()
                    if self._block.status == "I":
                        self._portals.clear()
                    self._ready()
                case codec.Flush():
                    self._flush()
                case _:
                    raise NotModelled(f"expected a query, got {message}")
        except ServerError as error:
            self._fail(error)
            if isinstance(message, codec.Query | codec.Sync):
                self._ready()
            else:
                self._ignoring = True

    def _fail(self, error: ServerError) -> None:
        """Report an error, and undo at once: up to the last savepoint, or everything."""
        if error.severity == "FATAL":
            raise error
        self._block.fail()
        if self._block.status == "I":
            self._portals.clear()
        self._send(codec.error_response(error.fields()))
        self._flush()

    def _query(self, text: str) -> Waiting[None]:
        self._portals.pop("", None)
        self._statements.pop("", None)
        if not text.strip():
            self._send(codec.EMPTY_QUERY)
        elif (found := self._find(text)) is not None:
            self._engine.asked[_kind_of(found)] += 1
            if isinstance(found, Control):
                tag = yield from self._block.control(found)
            else:
                if found.parameters:
                    raise ServerError("42P02", "there is no parameter $1")
                outcome = yield from self._block.run(found, ())
                if found.columns:
                    self._send(_described(found, TEXT_FORMAT))
                    shows = [column.show for _, column in found.columns]
                    for row in outcome.rows:
                        shown = [
                            None if value is None else show(value).encode()
                            for show, value in zip(shows, row, strict=True)
                        ]
                        self._send(codec.data_row(shown))
                tag = outcome.tag
            yield from self._block.end_implicit()
            self._send(codec.command_complete(tag))
        self._ready()

    def _parse(self, message: codec.Parse) -> None:
        found = self._find(message.text)
        if found is None or any(message.type_oids):
            raise NotModelled(f"expected a statement without types of its parameters, got {message}")
        if message.name and message.name in self._statements:
            raise ServerError("42P05", f'prepared statement "{message.name}" already exists')
        self._statements[message.name] = found
        self._send(codec.PARSE_COMPLETE)

    def _find(self, text: str) -> Statement | Control | None:
        """The statement with this text, if it may be parsed now. Raises ServerError 25P02, 42P01, 42703, 0A000."""
        control = control_of(text)
        if self._block.failed and (control is None or control.verb in _REFUSED_ONCE_FAILED):
            raise ServerError("25P02", TRANSACTION_ABORTED)
        if control is not None:
            return control
        statement = REGISTRY.get(text)
        if statement is None:
            self._door.on_unknown(text)
            raise ServerError("0A000", f"the simulated server does not model this statement: {text}")
        transaction = self._block.begun()
        for name in statement.needs:
            if not self._engine.has_relation(name, transaction):
                table, _, column = name.partition(".")
                if column:
                    raise ServerError("42703", f"column {column} of {table} does not exist")
                raise ServerError("42P01", f'relation "{table}" does not exist')
        return statement

    def _describe(self, kind: str, name: str) -> None:
        if kind == "S":
            found = self._prepared(name)
            types = found.parameters if isinstance(found, Statement) else ()
            self._send(codec.parameter_description([one.oid for one in types]))
        else:
            found = self._portal(name).prepared
        if isinstance(found, Statement) and found.columns:
            self._send(_described(found, BINARY_FORMAT))
        else:
            self._send(codec.NO_DATA)

    def _prepared(self, name: str) -> Statement | Control:
        if name not in self._statements:
            raise ServerError("26000", f'prepared statement "{name}" does not exist')
        return self._statements[name]

    def _portal(self, name: str) -> Portal:
        if name not in self._portals:
            raise ServerError("34000", f'portal "{name}" does not exist')
        return self._portals[name]

    def _bind(self, message: codec.Bind) -> None:
        found = self._prepared(message.statement)
        if self._block.failed and (not isinstance(found, Control) or found.verb in _REFUSED_ONCE_FAILED):
            raise ServerError("25P02", TRANSACTION_ABORTED)
        types = found.parameters if isinstance(found, Statement) else ()
        if len(types) != len(message.values):
            text = f"bind message supplies {len(message.values)} parameters, but {len(types)} are needed"
            raise ServerError("08P01", text)
        columns = found.columns if isinstance(found, Statement) else ()
        if (types and not _all_binary(message.formats)) or (columns and not _all_binary(message.result_formats)):
            raise NotModelled(f"expected binary formats, got {message.formats} and {message.result_formats}")
        self._block.begun()
        values = tuple(
            [None if value is None else kind.decode(value) for kind, value in zip(types, message.values, strict=True)]
        )
        self._portals[message.portal] = Portal(found, values, [], [])
        self._send(codec.BIND_COMPLETE)

    def _execute(self, name: str, rows_max: int) -> Waiting[None]:
        portal = self._portal(name)
        found = portal.prepared
        self._engine.asked[_kind_of(found)] += 1
        if isinstance(found, Control):
            tag = yield from self._block.control(found)
            self._send(codec.command_complete(tag))
            return
        if self._block.failed:
            raise ServerError("25P02", TRANSACTION_ABORTED)
        if not portal.tags:
            outcome = yield from self._block.run(found, portal.values)
            portal.tags.append(outcome.tag)
            if found.columns:
                encodes = [column.encode for _, column in found.columns]
                for row in outcome.rows:
                    values = [
                        None if value is None else encode(value) for encode, value in zip(encodes, row, strict=True)
                    ]
                    portal.rest.append(codec.data_row(values))
        if not found.columns:
            self._send(codec.command_complete(portal.tags[0]))
            return
        count = len(portal.rest) if rows_max <= 0 else min(rows_max, len(portal.rest))
        for data in portal.rest[:count]:
            self._send(data)
        del portal.rest[:count]
        # a portal that gave as many rows as were asked for does not know that there are no more
        suspended = 0 < rows_max <= count
        verb = portal.tags[0].rpartition(" ")[0]
        self._send(codec.PORTAL_SUSPENDED if suspended else codec.command_complete(f"{verb} {count}"))


def _described(statement: Statement, result_format: int) -> bytes:
    columns = [(name, column.oid, column.size) for name, column in statement.columns]
    return codec.row_description(columns, result_format)


def _all_binary(formats: Sequence[int]) -> bool:
    return bool(formats) and all(one == BINARY_FORMAT for one in formats)


def _kind_of(found: Statement | Control) -> str:
    return "control" if isinstance(found, Control) else "statement"
