"""What a page of the stream is read against, pure: whose stream it is, and what of it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from system.cursor import Position
from system.event import RetentionClass, class_of
from system.session import Floors, PageRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One snapshot of Postgres (`sql.READ_GROUND`)."""

    epoch: int
    created: str
    """When the stream was created to which the epoch belongs: its identity."""
    watermark: Position
    last_seq: int
    """The stream's end when the epoch began."""
    floors: Floors
    swept_ago_s: float | None
    """How long ago the last complete sweep began, in s of Postgres's clock; None if there was none."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Ground:
        """From its row."""
        return cls(
            epoch=row["epoch"],
            created=row["created"],
            watermark=Position(row["watermark"]),
            last_seq=row["last_seq"],
            floors=Floors(Position(row["critical"]), Position(row["standard"])),
            swept_ago_s=row["swept_ago_s"],
        )

    def problem(self, earlier: Ground, *, swept_within_s: float) -> str | None:
        """Why a page that was begun on an earlier snapshot can't be told on this one; None if it can."""
        if (self.epoch, self.created) != (earlier.epoch, earlier.created):
            return "the stream has begun a new epoch"
        ago_s = self.swept_ago_s
        if ago_s is not None and abs(ago_s) <= swept_within_s:
            return None
        # one that lies ahead was noted before Postgres's clock was set back
        found = "none yet" if ago_s is None else f"one that began {ago_s:.1f} s ago"
        return (
            f"expected a complete sweep within {swept_within_s:g} s, got {found}: what is gone can't be told until the "
            "leader has swept"
        )


def doubtful(rows: Sequence[PageRow], floors: Floors, critical_types: frozenset[str]) -> list[Position]:
    """The rows that lie at or below the floor of their class, so that they may be gone though the stream has them.

    Nearly all of them are. But a sweep goes by age, which a clock that was set back has put in another order.
    """
    if not rows or rows[0].pos > max(floors.critical, floors.standard):
        return []
    floor = {RetentionClass.CRITICAL: floors.critical, RetentionClass.STANDARD: floors.standard}
    return [row.pos for row in rows if row.pos <= floor[class_of(row.type, critical_types)]]
