"""The published schema of histories, made from the types that read them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any, get_args

import msgspec

from reports import records

PLACE = Path(__file__).with_name("history.schema.json")
"""Where the published schema lies."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def history_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line of a history, with every type's and field's own words."""
    schema = msgspec.json.schema(records.Record)
    words = _words_of_fields()
    for name, definition in schema["$defs"].items():
        for field, text in words.get(name, {}).items():
            shape = definition["properties"][field]
            # beside a reference, 2020-12 allows further keywords
            shape["description"] = text
    return {
        "$schema": DIALECT,
        "$id": "urn:meshrelay:history:1",
        "title": "A line of a meshrelay history",
        "description": "A history is a JSONL file: one such object a line, the 'run' first. Cursors are "
        "'<epoch tag>-<sequence>' as agents see them; t_ns are nanoseconds since the history began, and never fall "
        "within one agent's connections.",
        **schema,
    }


def encoded() -> bytes:
    """The schema as its file holds it; equal types give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(history_schema()), indent=1) + b"\n"


def kinds() -> list[str]:
    """The kinds of records, in the order of the types."""
    return [str(one.__struct_config__.tag) for one in get_args(records.Record)]


def _words_of_fields() -> dict[str, dict[str, str]]:
    """The sentence that stands below each field, by class; Python keeps none of them at run time."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(records)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, words in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(words, ast.Expr)
                and isinstance(words.value, ast.Constant)
            ):
                found.setdefault(node.name, {})[field.target.id] = inspect.cleandoc(str(words.value.value))
    return found
