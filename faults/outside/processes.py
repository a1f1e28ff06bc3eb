"""The processes of a stack file, each with its language and its probe."""

from __future__ import annotations

from faults.dialects import dialect_of
from faults.outside.commands import Runner
from faults.outside.file import StackFile, address_of
from faults.outside.process import OutsideProcess
from faults.stack.process import Probe
from faults.stack.servers import http_probe, nats_probe, postgres_probe
from faults.vocabulary import Link


def processes_of(stack: StackFile) -> dict[str, OutsideProcess]:
    """Replicas, NATS and Postgres by name; nothing is asked of them yet."""
    runner = Runner(stack=stack)

    def process(name: str, url: str, link: Link, probe: Probe) -> OutsideProcess:
        address = address_of(url, schemes=("nats", "postgres", "postgresql", "http"))
        assert address is not None, "it was checked when the file was read"
        return OutsideProcess(
            name=name,
            address=address,
            dialect=dialect_of(link),
            probe=probe,
            commands=stack.commands(name),
            runner=runner,
            url=url if link is Link.AGENT_RELAY else "",
        )

    nats, postgres = nats_probe(*stack.nats_address), postgres_probe(stack.postgres)
    return {
        "nats": process("nats", stack.nats, Link.RELAY_NATS, nats),
        "postgres": process("postgres", stack.postgres, Link.RELAY_POSTGRES, postgres),
        **{
            name: process(name, url, Link.AGENT_RELAY, http_probe(f"{url}/readyz"))
            for name, url in stack.relays.items()
        },
    }
