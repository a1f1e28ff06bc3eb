"""Every statement that the server knows, by its exact text: SQL is never parsed."""

from __future__ import annotations

from sim.postgres import statements_keeper, statements_migrate, statements_planted, statements_reader, statements_writer
from sim.postgres.statement import Statement, digest

STATEMENTS = (
    *statements_reader.STATEMENTS,
    *statements_writer.STATEMENTS,
    *statements_keeper.STATEMENTS,
    *statements_migrate.STATEMENTS,
    *statements_planted.STATEMENTS,
)
"""Every handler with the text that goes by its name today."""

REGISTRY: dict[str, Statement] = {one.text: one for one in STATEMENTS if one.pin == digest(one.text)}
"""What is not in here is not modelled, and so is a statement that has changed since its handler was written."""
