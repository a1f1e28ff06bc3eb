"""The compose project, loaded once for all tests of an xdist worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy import parts


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """The compose project with every profile, as Docker reads it; not to be changed."""
    return parts.loaded()


@pytest.fixture(scope="session")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its services by name."""
    found: dict[str, dict[str, Any]] = project["services"]
    return found
