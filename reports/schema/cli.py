"""`meshrelay schema`: prints published schemas, or writes the file that the project ships."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from reports import schema


class Of(enum.StrEnum):
    """What has a schema."""

    HISTORY = "history"


def register(app: typer.Typer) -> None:
    """Add the sub-command to the root command."""

    @app.command(name="schema", rich_help_panel="Evidence")
    def print_schema(
        of: Annotated[Of, typer.Argument(help="What the schema is of.")] = Of.HISTORY,
        write: Annotated[bool, typer.Option("--write", help="Write the project's own file instead.")] = False,
    ) -> None:
        """Print the JSON Schema (2020-12) of a line of a history."""
        assert of is Of.HISTORY, of
        if write:
            schema.PLACE.write_bytes(schema.encoded())
            typer.echo(f"wrote {schema.PLACE.name}", err=True)
        else:
            typer.echo(schema.encoded().decode(), nl=False)
