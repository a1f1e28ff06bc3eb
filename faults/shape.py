"""What a struct's type allows at a place in its JSON: the values of a closed list, the names of fields; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

_STEP = re.compile(r"\.(\w+)|\[")


def choices_at(struct: type[msgspec.Struct], path: str) -> list[Any]:
    """All values at a msgspec error's path such as `.faults[0].kind`; empty where there is no closed list of them."""
    found: list[Any] = []
    for one in _at(struct, path):
        if isinstance(one, inspect.EnumType):
            found += [member.value for member in one.cls]
        elif isinstance(one, inspect.LiteralType):
            found += one.values
    return list(dict.fromkeys(found))


def fields_at(struct: type[msgspec.Struct], path: str, tag: Any = None) -> list[str]:
    """The names of the fields at a path; where there are several structs, of the one with this tag."""
    found = [one for one in _at(struct, path) if isinstance(one, inspect.StructType)]
    chosen = [one for one in found if one.tag == tag] or found
    return list(dict.fromkeys(field.encode_name for one in chosen for field in one.fields))


def _at(struct: type[msgspec.Struct], path: str) -> list[inspect.Type]:
    """Every type that is possible at a path."""
    types = list(_plain(inspect.type_info(struct)))
    for step in _STEP.finditer(path):
        types = [inner for one in types for below in _below(one, step[1]) for inner in _plain(below)]
    return types


def _plain(one: inspect.Type) -> Iterator[inspect.Type]:
    """A type without its metadata, or each of a union."""
    if isinstance(one, inspect.Metadata):
        yield from _plain(one.type)
    elif isinstance(one, inspect.UnionType):
        for part in one.types:
            yield from _plain(part)
    else:
        yield one


def _below(one: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    """The types of a struct's field, or with no name of an array's items."""
    if isinstance(one, inspect.StructType):
        yield from (field.type for field in one.fields if field.encode_name == name)
        if name is not None and name == one.tag_field:
            yield inspect.LiteralType((one.tag,))
    elif name is None and isinstance(one, inspect.VarTupleType | inspect.ListType):
        yield one.item_type
