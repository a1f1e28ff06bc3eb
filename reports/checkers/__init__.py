"""Pure checkers over one history, for what can be seen in one: G1 to G6, and G8.

`follow.py` follows each agent through its connections; each checker then judges one guarantee. A checker calls
something a violation only when the bounds on what the history can't show (when an event was persisted, where a
connection without a cursor began) leave no doubt; every module says how.

G7 is not in a history. G8 is G1 to G5 of a run in which processes died; its checker lays losses to a server's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.checkers.addressed import check_addressed
from reports.checkers.chain import Chain
from reports.checkers.findings import Judged
from reports.checkers.loss import check_loss
from reports.checkers.notices import check_notices
from reports.checkers.once import check_once
from reports.checkers.order import check_order
from reports.checkers.progress import check_progress
from reports.checkers.survival import check_survival
from reports.index import Index

CHECKERS: tuple[Callable[[Index, Sequence[Chain]], Judged], ...] = (
    check_loss,
    check_notices,
    check_order,
    check_once,
    check_addressed,
    check_progress,
    check_survival,
)
"""One a guarantee, in their order."""
