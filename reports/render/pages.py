"""How every page is made: one template, escaped, with nothing left undefined."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2


def rendered(template: str, **values: Any) -> str:
    """A template of this folder with these values. Raises jinja2.UndefinedError for one that is missing."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    """Once, for it keeps what it has compiled."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("reports.render", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
