"""The published schemas of histories and of reports, made from the types that read them."""

from __future__ import annotations

import ast
import enum
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec

from reports import options, records, report
from reports.review import document, evidence

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Of(enum.StrEnum):
    """What has a published schema."""

    HISTORY = "history"
    REPORT = "report"

    @property
    def place(self) -> Path:
        """Where the project's own file lies."""
        return Path(__file__).with_name(f"{self.value}.schema.json")


def history_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line of a history, with every type's and field's own words."""
    return {
        "$schema": DIALECT,
        "$id": "urn:meshrelay:history:1",
        "title": "A line of a meshrelay history",
        "description": "A history is a JSONL file: one such object a line, the 'run' first. Cursors are "
        "'<epoch tag>-<sequence>' as agents see them; t_ns are nanoseconds since the history began, and never fall "
        "within one agent's connections.",
        **_worded(records.Record, records),
    }


def report_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report on the decision, with every type's and field's own words."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:meshrelay:{document.SCHEMA}",
        "title": "A meshrelay report",
        "description": "What `meshrelay report` writes as report.json: the answer, and all that it rests on.",
        **_worded(document.Review, document, evidence, options, report),
    }


def encoded(of: Of) -> bytes:
    """A schema as its file holds it; equal types give equal bytes."""
    schema = history_schema() if of is Of.HISTORY else report_schema()
    return msgspec.json.format(msgspec.json.encode(schema), indent=1) + b"\n"


def _worded(kind: Any, *modules: ModuleType) -> dict[str, Any]:
    """The schema of a type, each field with the sentence that stands below it in one of the modules."""
    schema = msgspec.json.schema(kind)
    words = {name: fields for module in modules for name, fields in _words_of_fields(module).items()}
    for name, definition in schema["$defs"].items():
        for field, text in words.get(name, {}).items():
            shape = definition["properties"][field]
            # beside a reference, 2020-12 allows further keywords
            shape["description"] = text
    return schema


def kinds() -> list[str]:
    """The kinds of records, in the order of the types."""
    return [str(one.__struct_config__.tag) for one in get_args(records.Record)]


def _words_of_fields(module: ModuleType) -> dict[str, dict[str, str]]:
    """The sentence that stands below each field, by class; Python keeps none of them at run time."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
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
