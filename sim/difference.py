"""The first difference between two runs: which segment, when, between whom, and what stood before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.trace import Segment

BEFORE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two runs part."""

    index: int
    before: tuple[Segment, ...]
    """The last segments that both have."""
    one: Segment | None
    """None if this run ended here."""
    other: Segment | None

    def shown(self, one: str, other: str) -> str:
        """For people; the runs go by these names."""
        width = max(len(one), len(other), 4)
        lines = [f"first difference: segment {self.index:,}"]
        lines += [f"  {'both':{width}}  {_line(segment)}" for segment in self.before]
        for name, segment in ((one, self.one), (other, self.other)):
            lines.append(f"  {name:{width}}  {'(has ended)' if segment is None else _line(segment)}")
        if self.one is not None and self.other is not None and _line(self.one) == _line(self.other):
            at, mine, theirs = _first_byte(self.one.data, self.other.data)
            lines.append(f"  at byte {at}: {mine!r} against {theirs!r}")
        return "\n".join(lines)


def first_difference(one: Sequence[Segment], other: Sequence[Segment]) -> Difference | None:
    """Where two runs part, or None if they are the same."""
    shared = min(len(one), len(other))
    index = next((at for at in range(shared) if one[at] != other[at]), shared)
    if index == len(one) == len(other):
        return None
    return Difference(
        index=index,
        before=tuple(one[max(0, index - BEFORE) : index]),
        one=one[index] if index < len(one) else None,
        other=other[index] if index < len(other) else None,
    )


def _line(segment: Segment) -> str:
    return f"{segment.t_ns / 1e9:.6f} s  {segment.source} → {segment.target}  {segment.text}"


def _first_byte(one: bytes, other: bytes) -> tuple[int, bytes, bytes]:
    shared = min(len(one), len(other))
    at = next((at for at in range(shared) if one[at] != other[at]), shared)
    return at, one[max(0, at - 8) : at + 24], other[max(0, at - 8) : at + 24]
