"""The pages that people get, each from evidence with something in every part."""

from __future__ import annotations

import msgspec

from reports.api import ALL_PROMISES
from reports.render import campaign as of_campaign
from reports.render import html as of_run
from reports.render import options as of_options
from reports.render import review as of_review
from reports.render import what_if as of_what_if
from reports.review.against import against
from reports.review.assemble import review_of
from reports.review.document import Review
from reports.review.evidence import Evidence
from tests.reports.review.evidence import full, options, sound
from tests.reports.review.real_run import real_run
from tests.reports.test_campaign import campaign
from tests.reports.test_what_if import column, told
from tests.reports.test_what_if import compared as what_if

COMMANDS = {"guarantees": "meshrelay compare --only guarantees", "the planted bugs": "meshrelay sim planted"}


def reviewed(evidence: Evidence) -> Review:
    """A review of some evidence."""
    return review_of(evidence, ALL_PROMISES, COMMANDS)


def compared() -> Review:
    """What is broken beside what was sound: every part of the page is there."""
    return against(reviewed(full()), reviewed(sound()))


def bare() -> Review:
    """A review of next to nothing."""
    found = full()
    nothing = msgspec.structs.replace(options(), answer=[], cells=[], rows=[], replays=[], crossings=[], limits={})
    nothing = msgspec.structs.replace(
        nothing, simulated_rows=[], simulated_replays=[], simulated_crossings=[], agreement=[], missing=[]
    )
    return reviewed(Evidence(provenance=found.provenance, options=nothing))


PAGES = {
    "review": lambda: of_review.html(compared()),
    "sound review": lambda: of_review.html(reviewed(sound())),
    "bare review": lambda: of_review.html(bare()),
    "run": lambda: of_run.render(real_run(11, "violated")),
    "campaign": lambda: of_campaign.html(campaign("held", "violated", "could not run"), ALL_PROMISES),
    "what if": lambda: of_what_if.html(
        what_if(column("as it was"), column("nats:8h", figures=told(3, 41))), ALL_PROMISES
    ),
    "options": lambda: of_options.html(options(), ALL_PROMISES),
}
"""By name, the text of each."""
