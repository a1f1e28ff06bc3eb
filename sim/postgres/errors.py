"""What the server reports to a client: an SQLSTATE, a sentence and the fields that clients look at."""

from __future__ import annotations


class ServerError(Exception):
    """An error of one statement, or the end of the session if its severity is FATAL."""

    def __init__(
        self, sqlstate: str, message: str, *, severity: str = "ERROR", detail: str | None = None, **names: str
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.severity = severity
        self.detail = detail
        self.names = names
        """Of `table`, `column`, `constraint` those that apply."""

    def fields(self) -> list[tuple[str, str]]:
        """The fields of an ErrorResponse, by their letters (PostgreSQL documentation, 54.8)."""
        fields = [("S", self.severity), ("V", self.severity), ("C", self.sqlstate), ("M", self.message)]
        if self.detail is not None:
            fields.append(("D", self.detail))
        if "table" in self.names:
            fields.append(("s", "public"))
        letters = (("table", "t"), ("column", "c"), ("constraint", "n"))
        return fields + [(letter, self.names[name]) for name, letter in letters if name in self.names]


def fatal(sqlstate: str, message: str) -> ServerError:
    """An error that ends the session."""
    return ServerError(sqlstate, message, severity="FATAL")


def unique_violation(table: str, constraint: str) -> ServerError:
    """A row with this key is there already."""
    message = f'duplicate key value violates unique constraint "{constraint}"'
    return ServerError("23505", message, table=table, constraint=constraint)


def null_violation(table: str, column: str) -> ServerError:
    """A column that needs a value got none."""
    message = f'null value in column "{column}" of relation "{table}" violates not-null constraint'
    return ServerError("23502", message, table=table, column=column)


def disk_full() -> ServerError:
    """A table needs another page, and there is no room for it."""
    return ServerError("53100", 'could not extend file "base/5/16384": No space left on device')


def out_of_range(what: str) -> ServerError:
    """A number does not fit its type."""
    return ServerError("22003", f"{what} out of range")


TRANSACTION_ABORTED = "current transaction is aborted, commands ignored until end of transaction block"
