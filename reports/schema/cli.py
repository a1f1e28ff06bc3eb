"""`meshrelay schema`: prints published schemas, or writes the files that the project ships."""

from __future__ import annotations

from typing import Annotated

import typer

from reports.schema import Of, encoded


def register(app: typer.Typer) -> None:
    """Add the sub-command to the root command."""

    @app.command(name="schema", rich_help_panel="Evidence")
    def print_schema(
        of: Annotated[Of, typer.Argument(help="What the schema is of.")] = Of.HISTORY,
        write: Annotated[bool, typer.Option("--write", help="Write the project's own file instead.")] = False,
    ) -> None:
        """Print the JSON Schema (2020-12) of a line of a history, or of a report."""
        if write:
            of.place.write_bytes(encoded(of))
            typer.echo(f"wrote {of.place.name}", err=True)
        else:
            typer.echo(encoded(of).decode(), nl=False)
