"""Every place where a document does not have the shape of a msgspec struct, not only the first; pure."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec


def misfits(value: Any, kind: Any, place: str = "") -> Iterator[str]:
    """One sentence for each misfit: the place, what was expected, what came."""
    if isinstance(kind, UnionType):
        kind = next((one for one in get_args(kind) if _is_struct(one)), kind)  # of `Struct | None`, the struct
    if isinstance(value, dict) and _is_struct(kind):
        yield from _fields(value, kind, place)
    elif isinstance(value, dict) and get_origin(kind) is dict:
        for name, inner in value.items():
            yield from misfits(inner, get_args(kind)[1], _within(place, name))
    elif isinstance(value, list) and get_origin(kind) is tuple and _is_struct(get_args(kind)[0]):
        for index, inner in enumerate(value):
            yield from misfits(inner, get_args(kind)[0], f"{place}[{index}]")
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            told = str(error)[0].lower() + str(error)[1:]
            yield f"{place}: {told}" + ("" if ", got " in told else f", got {value!r:.60}")


def _fields(value: dict[str, Any], kind: Any, place: str) -> Iterator[str]:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in value:
        if name not in fields:
            yield f"{_within(place, name)}: expected one of {', '.join(fields)}, got a name that means nothing here"
    for name, field in fields.items():
        if name in value:
            yield from misfits(value[name], field.type, _within(place, name))
        elif field.required:
            yield f"{_within(place, name)}: expected a value, got none; add it"


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
