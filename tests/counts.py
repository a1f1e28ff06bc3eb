"""How many cases held a model to the real thing, by server and arm; a case that is skipped holds nothing, and fails.

Every case of a conformance test plays both arms; of which server, its path says. A plugin of pytest's: what a case
played travels with its reports, also from xdist's workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator

import pytest

ARMS = ("simulated", "real")
SERVERS: dict[str, str] = {
    "tests/sim/jetstream/": "nats",
    "tests/sim/postgres/": "postgres",
    "tests/sim/redis/": "redis",
    "tests/sim/test_full_disks.py::test_nats": "nats",
    "tests/sim/test_full_disks.py::test_postgres": "postgres",
    "tests/sim/test_broken_tcp.py": "tcp",
    "tests/sim/test_deaths_conformance.py": "tcp",
    "tests/sim/test_endings_conformance.py": "tcp",
    "tests/sim/test_tcp_conformance.py": "tcp",
    "tests/sim/test_partition_conformance.py": "tcp",
}
"""By the beginning of a test's path."""
THREE = "nats R3"
PROPERTY = "conformance"


def server_of(nodeid: str) -> str:
    """Which server's model a conformance test holds. Raises LookupError for one that nobody has placed."""
    if "three_servers" in nodeid:
        return THREE
    for path, server in SERVERS.items():
        if nodeid.startswith(path):
            return server
    raise LookupError(f"expected a conformance test of {', '.join(SERVERS)}, got {nodeid}; place it in tests/counts.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have every conformance test's reports tell of what it plays."""
    for item in items:
        if item.get_closest_marker("conformance"):
            item.user_properties += [(PROPERTY, f"{server_of(item.nodeid)}/{arm}") for arm in ARMS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip of a conformance test into a failure."""
    report = yield
    if report.skipped and item.get_closest_marker("conformance"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: a conformance test may not be skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At the end of a run with conformance tests: how many cases held each model."""
    counts = played(terminalreporter.getreports("passed"))
    if counts:
        terminalreporter.write_sep("=", "cases that held a model to the real thing")
        for line in table(counts):
            terminalreporter.write_line(line)


def played(reports: list[pytest.TestReport]) -> Counter[str]:
    """How many cases each server has in each arm, of reports of those that passed."""
    return Counter(str(value) for report in reports for name, value in report.user_properties if name == PROPERTY)


def table(counts: Counter[str]) -> Iterator[str]:
    """The counts as lines, with what they add up to."""
    servers = [one for one in dict.fromkeys([*SERVERS.values(), THREE]) if counts[f"{one}/{ARMS[0]}"]]
    yield f"{'server':<10}" + "".join(f"{arm:>12}" for arm in ARMS)
    for server in servers:
        yield f"{server:<10}" + "".join(f"{counts[f'{server}/{arm}']:>12}" for arm in ARMS)
    yield f"{'all':<10}" + "".join(f"{sum(counts[f'{one}/{arm}'] for one in servers):>12}" for arm in ARMS)
