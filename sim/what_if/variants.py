"""Variants of the window: what was asked of each, read from the command's words; pure.

base                                   the ADR's window, as `sim window` plays it
--set retention.standard=6h            without --variant: one variant; else for every variant
--variant "short: retention.standard=6h outage:nats=3h@2d"
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sim.what_if.outages import Outage, outage_of
from sim.what_if.settings import SETTINGS, Value, setting_of

BASE = "base"
ASKED = "what-if"
"""The variant that `--set` and `--outage` make without any `--variant`."""
VARIANTS_MAX = 16
"""More columns nobody reads side by side."""
OUTAGE = "outage:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,23}")


class AskedWrong(ValueError):
    """What was asked can't be played; a line for each problem says where, what was expected, what came, what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One column."""

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)
    """What was set, by name."""
    outages: tuple[Outage, ...] = ()
    words: tuple[str, ...] = ()
    """What was set as it was written, `NAME=VALUE`, in the order of the names' table."""

    @property
    def is_base(self) -> bool:
        """Whether it is the ADR's window itself."""
        return not self.values and not self.outages

    def get(self, name: str) -> Value:
        """A setting's value: what was set, else the window's."""
        return self.values[name] if name in self.values else SETTINGS[name].default

    def written(self, name: str) -> str:
        """A setting as `NAME=VALUE`, as it was written or by default."""
        given = next((word for word in self.words if word.startswith(f"{name}=")), None)
        setting = SETTINGS[name]
        return given or f"{name}={setting.default_shown or setting.value_shown(setting.default)}, the default"

    def command(self, *, seed: int, days: float) -> str:
        """The command that plays this variant alone."""
        parts = ["meshrelay", "sim", "window", "--days", f"{days:g}", "--seed", str(seed)]
        parts += [] if self.is_base else ["--no-base"]
        for word in self.words:
            parts += ["--set", word]
        for outage in self.outages:
            parts += ["--outage", outage.text]
        return shlex.join(parts)


def variants_of(
    settings: Sequence[str], outages: Sequence[str], variants: Sequence[str], *, with_base: bool
) -> list[Variant]:
    """The columns that the command's words ask for, the base first. Raises AskedWrong with every problem."""
    problems: list[str] = []
    common = _read(
        "", ASKED, [("--set", word) for word in settings], [("--outage", word) for word in outages], problems
    )
    found = [Variant(name=BASE)] if with_base else []
    if variants:
        found += [_merged(common, one) for one in (_variant(text, problems) for text in variants) if one is not None]
    elif not common.is_base or problems:
        found.append(common)
    names = [one.name for one in found]
    problems += [
        f"--variant: expected every name once, got {name!r} again; rename one"
        for at, name in enumerate(names)
        if name in names[:at]
    ]
    if not found and not problems:
        problems.append("--no-base: expected --set, --outage or --variant with it; nothing is left to play")
    if len(found) > VARIANTS_MAX:
        problems.append(f"--variant: expected at most {VARIANTS_MAX} columns, got {len(found)}; ask in two commands")
    if problems:
        raise AskedWrong(problems)
    return found


def _variant(text: str, problems: list[str]) -> Variant | None:
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not colon or not _NAME.fullmatch(name) or name == "outage":
        problems.append(
            f'--variant: expected "NAME: SETTING=VALUE … outage:WHAT=LENGTH …" with a name of 1 to 24 letters, digits, '
            f"_ and - that is not 'outage', got {text!r}"
        )
        return None
    words = rest.split()
    where = f"--variant {name}: "
    given = [(f"{where}{word}", word) for word in words if not word.startswith(OUTAGE)]
    hit = [(f"{where}{word}", word.removeprefix(OUTAGE)) for word in words if word.startswith(OUTAGE)]
    return _read(name, name, given, hit, problems)


def _read(
    label: str,
    name: str,
    settings: Sequence[tuple[str, str]],
    outages: Sequence[tuple[str, str]],
    problems: list[str],
) -> Variant:
    """A variant from its words, each with where it stands; what is wrong is added to the problems."""
    values: dict[str, Value] = {}
    words: dict[str, str] = {}
    for where, word in settings:
        try:
            setting, value = setting_of(word)
        except ValueError as error:
            problems.append(f"{where if label else f'{where} {word}'}: {error}")
            continue
        if setting.name in values:
            problems.append(f"{where if label else f'{where} {word}'}: expected {setting.name} once; leave one out")
        values[setting.name] = value
        words[setting.name] = word.strip()
    found: list[Outage] = []
    for where, word in outages:
        try:
            found.append(outage_of(word))
        except ValueError as error:
            problems.append(f"{where if label else f'{where} {word}'}: {error}")
    return Variant(name=name, values=values, outages=tuple(found), words=_in_order(words))


def _merged(common: Variant, own: Variant) -> Variant:
    """A variant with what is common to all; its own settings come first."""
    words = {word.partition("=")[0].strip(): word for word in (*common.words, *own.words)}
    return Variant(
        name=own.name,
        values={**common.values, **own.values},
        outages=(*common.outages, *own.outages),
        words=_in_order(words),
    )


def _in_order(words: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(words[name] for name in SETTINGS if name in words)
