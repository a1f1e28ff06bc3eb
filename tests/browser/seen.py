"""What a browser saw of a page, and what is wrong with it: pure, from boxes, colours and messages to sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from math import cos, radians, sin
from typing import Literal

import msgspec

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in CSS pixels of the document."""
Colour = tuple[float, float, float, float]
"""Red, green, blue of 255, and the opacity."""

CONTRAST_MIN = 4.5
"""WCAG 2.2, 1.4.3, for text of any size."""
LABEL_PX_MIN = 7.0
"""A picture's label that is smaller than this on the screen is a smudge; a phone zooms what is larger."""
SLACK_PX = 1.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One way to look at a page."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"] = "light"
    media: Literal["screen", "print"] = "screen"
    rules: tuple[str, ...] = ()
    """Of axe-core, or tags of its rules, by which to judge the page; without any, colours are not looked at."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text of the page, with the boxes of its lines."""

    text: str
    boxes: list[Box]
    is_scrolled: bool = msgspec.field(name="isScrolled")
    """Whether it lies in a box that scrolls sideways."""


class Paint(msgspec.Struct, frozen=True, kw_only=True):
    """What is painted under a text."""

    colour: str
    opacity: float


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a picture."""

    text: str
    angle: float
    size_px: float
    box: Box
    colour: str
    under: list[Paint] | None
    """Uppermost first; None if colours were not looked at."""


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """An inline SVG."""

    label: str
    role: str | None
    box: Box
    texts: list[Label]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A page as it was seen in one way."""

    view: View
    scheme: str
    media: str
    """As the page itself sees them."""
    console: list[str]
    errors: list[str]
    requests: list[str]
    width: float
    scroll_width: float
    texts: list[Text]
    spilling: list[str]
    """Elements whose content is wider than they are."""
    pictures: list[Picture]
    axe: list[str]
    """What axe-core says against it, or could not decide."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A page as it was seen in every way asked for."""

    version: str
    views: list[Seen]


def flaws(seen: Seen, page: str) -> list[str]:
    """What is wrong with a page whose address is `page`; empty if nothing is."""
    asked = (seen.view.scheme, seen.view.media)
    return [
        *(
            f"shown as {one} where {wanted} was asked for"
            for one, wanted in zip((seen.scheme, seen.media), asked, strict=True)
            if one != wanted
        ),
        *(f"the console says {one}" for one in (*seen.console, *seen.errors)),
        *(f"a request leaves the page: {one}" for one in seen.requests if one != page),
        *_too_wide(seen),
        *(flaw for picture in seen.pictures for flaw in _flaws_of(picture)),
        *seen.axe,
    ]


def _too_wide(seen: Seen) -> Iterator[str]:
    if seen.scroll_width > seen.width:
        yield f"the page is {seen.scroll_width:g} px wide in a window of {seen.width:g} px"
    for one in seen.texts:
        left, right = min(box[0] for box in one.boxes), max(box[2] for box in one.boxes)
        if not one.is_scrolled and (left < 0 or right > seen.width + SLACK_PX):
            yield f"cut off at {seen.width:g} px (from {left:g} to {right:g} px): {one.text}"
    yield from (f"wider than its box: {one}" for one in seen.spilling)


def _flaws_of(picture: Picture) -> Iterator[str]:
    name = picture.label[:60]
    if picture.role != "img" or not picture.label:
        yield f"a picture without role=img and a text alternative: {name!r}"
    left, top, right, bottom = picture.box
    for one in picture.texts:
        box = one.box
        if box[0] < left - 1 or box[1] < top - 1 or box[2] > right + 1 or box[3] > bottom + 1:
            yield f"{one.text!r} is cut off by the edge of the picture {name!r}: {box} in {picture.box}"
        if one.size_px < LABEL_PX_MIN:
            yield f"{one.text!r} is {one.size_px:.1f} px small in the picture {name!r}"
        if one.under is None:
            continue
        if not one.under:
            yield f"nothing opaque is under {one.text!r} in the picture {name!r}"
        elif (found := _contrast_of(one, one.under)) < CONTRAST_MIN:
            yield f"{one.text!r} has a contrast of {found:.2f} in the picture {name!r}"
    for one, other in combinations(picture.texts, 2):
        if _overlap(one, other):
            yield f"{one.text!r} and {other.text!r} lie on each other in the picture {name!r}"


def _overlap(one: Label, other: Label) -> bool:
    """Whether two labels share ink; of two that are turned alike only their distance across their lines counts."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    if width <= SLACK_PX or height <= SLACK_PX:
        return False
    if one.angle == 0 == other.angle or one.angle != other.angle:
        return True
    # parallel labels of one row: their boxes overlap long before their letters do
    return abs(_middle(one) - _middle(other)) < 0.8 * min(one.size_px, other.size_px)


def _middle(label: Label) -> float:
    """Where a turned label's line lies, along the normal of lines turned like it."""
    x, y = (label.box[0] + label.box[2]) / 2, (label.box[1] + label.box[3]) / 2
    turn = radians(label.angle)
    return y * cos(turn) - x * sin(turn)


def _contrast_of(label: Label, under: list[Paint]) -> float:
    """WCAG's contrast of a label with all that is painted under it."""
    ground: Colour = (255.0, 255.0, 255.0, 1.0)
    for paint in reversed(under):
        red, green, blue, opacity = colour_of(paint.colour)
        ground = _over((red, green, blue, opacity * paint.opacity), ground)
    return contrast(_over(colour_of(label.colour), ground), ground)


def contrast(one: Colour, other: Colour) -> float:
    """WCAG 2.2's contrast ratio of two opaque colours, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colour_of(css: str) -> Colour:
    """A computed colour, such as `rgb(1, 2, 3)` or `rgba(1, 2, 3, 0.5)`. Raises ValueError for another form."""
    found = re.fullmatch(r"rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)", css)
    if found is None:
        raise ValueError(f"expected a colour as rgb(...) or rgba(...), got {css!r}")
    red, green, blue = (float(one) for one in found.groups()[:3])
    return red, green, blue, float(found[4] or 1)


def _over(colour: Colour, ground: Colour) -> Colour:
    part = colour[3]
    red, green, blue = (part * one + (1 - part) * other for one, other in zip(colour[:3], ground[:3], strict=True))
    return red, green, blue, 1.0


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in colour[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
