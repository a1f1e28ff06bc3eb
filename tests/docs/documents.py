"""The project's Markdown as its readers see it: blocks, headings, links, code spans. Pure; CommonMark by markdown-it.

An HTML comment says what is to be done with the next block of code, and may stand anywhere above it:

    <!-- example: file NAME -->         the block is the content of this file, which later commands use
    <!-- example: not run: REASON -->   the block is not run; its commands are still checked to exist
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests import tidy_rules

ROOT = Path(__file__).parents[2]

_MARK = re.compile(r"<!--\s*example:\s*(.*?)\s*-->", re.DOTALL)
_FILE = re.compile(r"file ([\w.-]+)")
_NOT_RUN = re.compile(r"not run: (.+)", re.DOTALL)
_NO_SLUG = re.compile(r"[^\w\- ]")


class MarkInvalid(ValueError):
    """A comment begins like a mark and is none; the message says where and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of code."""

    document: str
    line: int
    """Its first one, from 1."""
    language: str
    """The word behind the fence; empty if it has none, or is indented."""
    text: str
    is_fenced: bool = True
    file: str | None = None
    """The file whose content it is."""
    not_run: str | None = None
    """Why it is not run."""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: str
    """Relative to the project, with slashes."""
    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        """CommonMark with tables."""
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        """Its blocks of code, in order. Raises MarkInvalid."""
        found: list[Block] = []
        mark: tuple[str | None, str | None] = (None, None)
        for token in self.tokens:
            if token.type == "html_block":
                for text in _MARK.findall(token.content):
                    mark = _read_mark(text, f"{self.path}:{_line(token)}")
            elif token.type in ("fence", "code_block"):
                found.append(
                    Block(
                        document=self.path,
                        line=_line(token),
                        language=token.info.strip(),
                        text=token.content,
                        is_fenced=token.type == "fence",
                        file=mark[0],
                        not_run=mark[1],
                    )
                )
                mark = (None, None)
        if mark != (None, None):
            raise MarkInvalid(f"{self.path}: expected a block of code behind every mark, got none behind the last one")
        return found

    @cached_property
    def links(self) -> list[tuple[int, str]]:
        """Where its links and pictures lead, with their lines."""
        found = []
        for inline in self._inlines():
            for token in inline.children or ():
                target = token.attrGet("href" if token.type == "link_open" else "src")
                if token.type in ("link_open", "image"):
                    found.append((_line(inline), str(target)))
        return found

    @cached_property
    def spans(self) -> list[tuple[int, str]]:
        """Its code spans, with the first lines of their paragraphs or rows."""
        return [
            (_line(inline), token.content)
            for inline in self._inlines()
            for token in inline.children or ()
            if token.type == "code_inline"
        ]

    @cached_property
    def anchors(self) -> set[str]:
        """The names that GitHub gives to its headings."""
        found: dict[str, int] = {}
        names: set[str] = set()
        for opened, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if opened.type == "heading_open":
                slug = _slug(inline)
                names.add(f"{slug}-{found[slug]}" if slug in found else slug)
                found[slug] = found.get(slug, 0) + 1
        return names

    def _inlines(self) -> Iterator[Token]:
        """Every run of text; those of a table's cells have no lines of their own, and get their row's."""
        row: list[int] | None = None
        for token in self.tokens:
            if token.type == "tr_open":
                row = token.map
            if token.type == "inline":
                token.map = token.map or row
                yield token


def documents() -> list[Document]:
    """Every Markdown file of the project."""
    found = [source for source in tidy_rules.sources(ROOT) if source.path.endswith(".md")]
    return [Document(one.path, one.text) for one in found]


def document(path: str) -> Document:
    """One of them. Raises OSError."""
    return Document(path, (ROOT / path).read_text(encoding="utf-8"))


def _read_mark(text: str, place: str) -> tuple[str | None, str | None]:
    if found := _FILE.fullmatch(text):
        return found[1], None
    if found := _NOT_RUN.fullmatch(text):
        return None, " ".join(found[1].split())
    raise MarkInvalid(f"{place}: expected `example: file NAME` or `example: not run: REASON`, got {text!r}")


def _slug(heading: Token) -> str:
    text = "".join(token.content for token in heading.children or () if token.type in ("text", "code_inline"))
    return _NO_SLUG.sub("", text.lower()).replace(" ", "-")


def _line(token: Token) -> int:
    return 1 + (token.map or [0])[0]
