"""The numbers that a reader sees, and those that a JSON document can stand behind, in the report's documented formats.

A number is what stands by itself: not the figure in `G1`, `p99`, a version, a time or a hash. Lengths of time and
shares are read as one: `1 d 2 h` is one number, and so is `0.572 %`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from reports.render.numbers import number
from reports.review.bounds import share
from reports.review.words import duration

FIGURES = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?"
LENGTH = re.compile(rf"(?<![\w.,-]){FIGURES} (?:d|h|min|s)\b(?: {FIGURES} (?:h|min|s)\b)?")
SHARE = re.compile(rf"(?<![\w.,-]){FIGURES} %")
NUMBER = re.compile(rf"(?<![\w.,:/$@-]){FIGURES}(?![\w/:]|[.,-]\w)")
RANGE = re.compile(rf"(?<![\w.,:/$@-])({FIGURES})-({FIGURES})(?![\w/:-]|[.,]\w)")
STATUSES = {"410"}
"""HTTP's names of answers, which count nothing."""
VOID = {"meta", "br", "link", "img", "input", "hr"}


class _Reader(HTMLParser):
    """What a page says: its texts and its pictures' text alternatives, without the ticks of axes."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Go into an element; what is in a style, a title or an axis is not read."""
        found = dict(attrs)
        if label := found.get("aria-label"):
            self.said.append(label)
        is_mute = bool(self._open and self._open[-1][1]) or tag in ("style", "title", "defs")
        if tag not in VOID:
            self._open.append((tag, is_mute or "matplotlib.axis" in (found.get("id") or "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An empty element says nothing."""

    def handle_endtag(self, tag: str) -> None:
        """Leave an element, and those in it that need no end."""
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if data.strip() and not (self._open and self._open[-1][1]):
            self.said.append(data.strip())


def said_by_page(html: str) -> list[str]:
    """The texts of a page that a person sees or hears."""
    reader = _Reader()
    reader.feed(html)
    return reader.said


def numbers_in(text: str) -> list[str]:
    """The numbers that stand by themselves in a text."""
    found = LENGTH.findall(text)
    text = LENGTH.sub(" ", text)
    found += SHARE.findall(text)
    text = SHARE.sub(" ", text)
    for low, high in RANGE.findall(text):
        found += [low, high]
    return found + NUMBER.findall(RANGE.sub(" ", text))


def vouched(document: Any) -> set[str]:
    """Every number of a JSON document in each of its formats, and every number in its strings."""
    return {form for key, value in _leaves("", document) for form in _forms(key, value)}


def unvouched(texts: list[str], document: Any) -> list[str]:
    """Numbers in texts that the document does not have, each with its text."""
    known = vouched(document)
    return [f"{one} in {text!r}" for text in texts for one in numbers_in(text) if one not in known | STATUSES]


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each number and string with the name of its field; names are strings, too."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield "", name
            yield from _leaves(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(key, inner)
    elif value is not None and not isinstance(value, bool):
        yield key, value


def _forms(key: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return numbers_in(value)
    forms = [f"{value:,}", f"{value:g}", number(value), f"{value:.1f}"]
    if key.endswith("_s"):
        forms.append(duration(value))
    if key == "minutes":
        forms.append(f"{value:g} min")
    if key in ("upper_limit", "confidence"):
        forms.append(share(value))
    return forms + [f"{value}"] * isinstance(value, int)
