"""Toxiproxy's control: one proxy for each link, faults added and removed, everything read back.

Built on toxiproxy-python, whose calls block, have no time limit, share one server address per process, and let error
statuses other than 400, 404 and 409 pass. So every call here runs in a thread, within a time limit, and what it did is
read back and compared; a server that does not do what it was told raises ToxiproxyFailed.

Facts to know (Toxiproxy 2.12, source read): byte counters grow only when a connection ends, so they tell nothing of
those that live; a connection that nobody reads blocks the adding and removing of toxics on its proxy; a `reset_peer`
resets only connections that begin after it, the older ones are closed in the ordinary way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import httpx
import requests
from prometheus_client.parser import text_string_to_metric_families
from toxiproxy import Toxiproxy as Server
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from faults.playable import Toxic
from faults.vocabulary import Direction

P = ParamSpec("P")
R = TypeVar("R")

CALL_S = 10.0
"""Longest single call; one takes milliseconds. Toxiproxy itself gives up on a request after 25 s."""
LET_GO_S = 0.2
"""How long connections get to hand on what a latency held; they take milliseconds, and the dead ones are gone then."""
COUNTERS = {"toxiproxy_proxy_received_bytes": "received", "toxiproxy_proxy_sent_bytes": "sent"}


class ToxiproxyFailed(RuntimeError):
    """Toxiproxy did not do what it was told, or did not answer; the run can't go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One proxy: who connects to `listen` is connected to `upstream`."""

    name: str
    listen: tuple[str, int]
    upstream: tuple[str, int]
    told: tuple[str, str] | None = None
    """What Toxiproxy itself calls the two, if it sees them from elsewhere, as in a container."""

    @property
    def labels(self) -> dict[str, str]:
        """By what its counters are found."""
        listener, upstream = self.told or (_text(self.listen), _text(self.upstream))
        return {"proxy": self.name, "listener": listener, "upstream": upstream}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Bytes over a proxy's ended connections in one direction: what came in, and what was handed on."""

    received: int = 0
    sent: int = 0


class Toxiproxy:
    """The one Toxiproxy server of this process."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Attach to the server at this address; the library's address is global, so one at a time."""
        self._address = address
        self._server = Server()
        self._server.update_api_consumer(*address)

    async def create(self, name: str, *, listen: tuple[str, int], upstream: tuple[str, int]) -> Route:
        """Make a proxy. Raises ToxiproxyFailed."""
        made = await self._call(self._server.create, upstream=_text(upstream), name=name, listen=_text(listen))
        if (made.name, made.enabled, made.listen, made.upstream) != (name, True, _text(listen), _text(upstream)):
            raise ToxiproxyFailed(f"expected proxy {name} from {_text(listen)}, got {vars(made)}; is the port free?")
        return Route(name=name, listen=listen, upstream=upstream)

    async def attach(self, name: str, *, listen: tuple[str, int], upstream: tuple[str, int]) -> Route:
        """A proxy that is there already, by the addresses that its ends have seen from here.

        Raises ToxiproxyFailed if it is not there, not enabled, or has toxics.
        """
        proxy = await self._call(self._server.get_proxy, name)
        if proxy is None:
            raise ToxiproxyFailed(f"expected a proxy {name} in Toxiproxy at {_text(self._address)}, got none; add it")
        route = Route(name=name, listen=listen, upstream=upstream, told=(proxy.listen, proxy.upstream))
        toxics = sorted(await self.toxics(route))
        if toxics or not proxy.enabled:
            got = f"toxics {', '.join(toxics)}" if toxics else "disabled"
            raise ToxiproxyFailed(f"expected proxy {name} enabled and without toxics, got {got}; heal it first")
        return route

    async def begin(self, route: Route, fault: str, toxic: Toxic, directions: Sequence[Direction]) -> None:
        """Play a fault on a proxy until `end`; on return it holds for its connections, old and new.

        Raises ToxiproxyFailed.
        """
        if toxic.type == "down":
            await self._set_enabled(route, enabled=False)
            return
        proxy = await self._proxy(route)
        for direction in directions:
            await self._call(
                proxy.add_toxic,
                type=toxic.type,
                stream=direction.value,
                name=_name(fault, direction),
                attributes=toxic.attributes,
            )
        wanted = {_name(fault, direction): (toxic.type, direction.value, toxic.attributes) for direction in directions}
        there = {name: kind for name, kind in (await self.toxics(route)).items() if name in wanted}
        if there != wanted:
            raise ToxiproxyFailed(f"expected toxics {wanted} on {route.name}, got {there}; see Toxiproxy's log")

    async def end(self, route: Route, fault: str, toxic: Toxic, directions: Sequence[Direction]) -> None:
        """Lift a fault that was begun. Raises ToxiproxyFailed."""
        if toxic.type == "down":
            await self._set_enabled(route, enabled=True)
            return
        if toxic.type == "latency":
            await self._let_go(route, [_name(fault, direction) for direction in directions])
        proxy = await self._proxy(route)
        for direction in directions:
            if not await self._call(proxy.destroy_toxic, _name(fault, direction)):
                raise ToxiproxyFailed(f"expected {_name(fault, direction)} on {route.name} to be removed; it is not")
        left = set(await self.toxics(route)) & {_name(fault, direction) for direction in directions}
        if left:
            raise ToxiproxyFailed(f"expected {sorted(left)} on {route.name} to be gone, but they are there")

    async def _let_go(self, route: Route, names: Sequence[str]) -> None:
        """Make latencies hand on what they hold before they are removed.

        Removed at once, it would take 5 s for each held piece of each connection whose receiver is gone.
        """
        for name in names:
            path = f"/proxies/{route.name}/toxics/{name}"
            body = {"toxicity": 1.0, "attributes": {"latency": 0, "jitter": 0}}
            if not await self._call(APIConsumer.post, path, json=body):
                raise ToxiproxyFailed(f"expected {name} on {route.name} to let go; see its log")
        await asyncio.sleep(LET_GO_S)

    async def remove(self, route: Route) -> None:
        """Remove a proxy and close its connections. Raises ToxiproxyFailed."""
        if not await self._call((await self._proxy(route)).destroy):
            raise ToxiproxyFailed(f"expected proxy {route.name} to be removed; it is not, see Toxiproxy's log")

    async def heal(self, routes: Sequence[Route]) -> None:
        """Enable these proxies and remove their toxics; others of the same server are not touched.

        Raises ToxiproxyFailed if anything is left.
        """
        await self._call(self._server.proxies)  # whoever is attached to another server is told, also with no route
        for route in routes:
            proxy = await self._proxy(route)
            toxics = await self.toxics(route)
            held = [name for name, (kind, _, _) in toxics.items() if kind == "latency"]
            if held:
                await self._let_go(route, held)
            for name in toxics:
                await self._call(proxy.destroy_toxic, name)
            if not proxy.enabled:
                await self._call(proxy.enable)
            left = await self.toxics(route)
            if left or not (await self._proxy(route)).enabled:
                raise ToxiproxyFailed(f"expected {route.name} enabled and without toxics, got {left}; see its log")

    async def toxics(self, route: Route) -> dict[str, tuple[str, str, dict[str, int]]]:
        """The toxics on a proxy: type, stream and attributes by name."""
        found = await self._call((await self._proxy(route)).toxics)
        return {name: (toxic.type, toxic.stream, toxic.attributes) for name, toxic in sorted(found.items())}

    async def counted(self, route: Route) -> dict[Direction, Counted]:
        """The bytes that went over a proxy's ended connections. Raises ToxiproxyFailed."""
        try:
            async with httpx.AsyncClient(timeout=CALL_S, trust_env=False) as http:
                answer = (await http.get(f"http://{_text(self._address)}/metrics")).raise_for_status()
        except httpx.HTTPError as error:
            raise ToxiproxyFailed(f"expected metrics from Toxiproxy, got {error!r}") from error
        # Counters outlive their proxy: its name alone may also find those of an earlier proxy of that name.
        mine = route.labels
        found: dict[str, dict[str, int]] = {direction.value: {} for direction in Direction}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if family.name in COUNTERS and mine.items() <= sample.labels.items():
                    found[sample.labels["direction"]][COUNTERS[family.name]] = int(sample.value)
        return {way: Counted(**found[way.value]) for way in (Direction.UPSTREAM, Direction.DOWNSTREAM)}

    async def _set_enabled(self, route: Route, *, enabled: bool) -> None:
        proxy = await self._proxy(route)
        await self._call(proxy.enable if enabled else proxy.disable)
        if (await self._proxy(route)).enabled is not enabled:
            raise ToxiproxyFailed(f"expected {route.name} to have enabled = {enabled}, but it has not; see its log")

    async def _proxy(self, route: Route) -> Any:
        found = await self._call(self._server.get_proxy, route.name)
        if found is None:
            raise ToxiproxyFailed(f"expected a proxy {route.name}, got none; was Toxiproxy restarted?")
        return found

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """One blocking call in a thread. A call that outlives its limit ends with the server's process."""
        if (APIConsumer.host, APIConsumer.port) != self._address:
            raise ToxiproxyFailed(
                f"expected the library to talk to {self._address}, but another Toxiproxy was attached to since; "
                "use one per process"
            )
        try:
            return await asyncio.wait_for(asyncio.to_thread(function, *args, **kwargs), CALL_S)
        except TimeoutError:
            raise ToxiproxyFailed(
                f"expected an answer from Toxiproxy within {CALL_S:g} s, got none; a client that does not read can "
                "block its proxy"
            ) from None
        # KeyError: the library takes an error's document, whose status it ignores, for a proxy's.
        except (requests.RequestException, ValueError, KeyError, InvalidToxic, NotFound, ProxyExists) as error:
            raise ToxiproxyFailed(f"expected Toxiproxy to carry out a call, got {error!r}; see its log") from error


def _name(fault: str, direction: Direction) -> str:
    return f"{fault}.{direction.value}"


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
