"""Small simulated worlds for tests: two hosts, a coroutine on each, and the time that it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from sim.clock import HostClock
from sim.environment import Environment, S
from sim.fence import fenced
from sim.host import Host, Process
from sim.network import Network

Main = Callable[[Process], Coroutine[Any, Any, Any]]


class SmallWorld:
    """Hosts `a` and `b` on one network."""

    def __init__(self, seed: int = 1) -> None:
        self.environment = Environment(random.Random(f"{seed}/order"))
        self.network = Network(self.environment, random.Random(f"{seed}/network"))
        self.a, self.b = (self.host(name) for name in "ab")
        self.problems: list[str] = []
        self.results: dict[str, Any] = {}
        self.segments: list[tuple[int, str, str, bytes]] = []
        self.network.on_segment = lambda _, *segment: self.segments.append((self.environment.now_ns, *segment))

    def host(self, name: str, *, drift_ppm: int = 0) -> Host:
        """One more host."""
        clock = HostClock(self.environment, drift_ppm=drift_ppm)
        return Host(name, self.environment, self.network, clock)

    def start(self, host: Host, main: Main, name: str = "") -> Process:
        """Start a process; what its main returns or raises goes into `results`."""

        async def kept(process: Process) -> None:
            try:
                self.results[name or host.name] = await main(process)
            except Exception as error:  # whatever it is, the test looks at it
                self.results[name or host.name] = error

        def report(who: str, context: dict[str, Any]) -> None:
            self.problems.append(f"{who}: {context}")

        return host.start(name or host.name, kept, rng=random.Random(f"{host.name}/{name}"), report=report)

    def run(self, seconds: float) -> None:
        """Let simulated time pass, behind the fence."""
        with fenced():
            self.environment.run_until(self.environment.now_ns + round(seconds * S))

    def result_of(self, main: Main, seconds: float) -> Any:
        """What a process on host `a` returns within so many simulated s; raises what it raised."""
        self.start(self.a, main)
        self.run(seconds)
        assert self.problems == []
        assert "a" in self.results, f"expected an end within {seconds:g} simulated s"
        result = self.results["a"]
        if isinstance(result, Exception):
            raise result
        return result

    def cut(self, source: str, target: str, *, both: bool = True) -> None:
        """Cut a link, both ways or one."""
        self.network.change(source, target, is_cut=True)
        if both:
            self.network.change(target, source, is_cut=True)
