"""The parts of a comparison on disk, each kept as soon as it is there: hours of measuring can be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from reports.campaign import CampaignReport
from reports.options import OPTIONS, Sample
from reports.review.evidence import Provenance
from sim.options.evidence import Simulated

T = TypeVar("T")
SIMULATED_SCALE = "scale-simulated.json"
ORIGINS = "origins.json"
"""Beside the parts: where each comes from."""


class ReplaySample(msgspec.Struct, frozen=True, kw_only=True):
    """One replay of a gap."""

    transport: str
    gap: int
    run: int
    replay_s: float


class SimulatedReplay(msgspec.Struct, frozen=True, kw_only=True):
    """One replay of a gap in the simulated world."""

    transport: str
    gap: int
    run: int
    """The world's seed."""
    replay_ms: float
    round_trips: float
    """Its time in round trips between two hosts."""
    requests: int
    """What the servers were asked meanwhile."""


class SimulatedScale(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in simulated worlds, in the order of options, sizes or gaps, and seeds."""

    samples: tuple[Sample, ...] = ()
    replays: tuple[SimulatedReplay, ...] = ()

    def plus(self, samples: Sequence[Sample] = (), replays: Sequence[SimulatedReplay] = ()) -> SimulatedScale:
        """This with more, in the same order whatever came first."""
        order = list(OPTIONS)
        return SimulatedScale(
            samples=tuple(
                sorted((*self.samples, *samples), key=lambda one: (order.index(one.transport), one.agents, one.run))
            ),
            replays=tuple(
                sorted((*self.replays, *replays), key=lambda one: (order.index(one.transport), one.gap, one.run))
            ),
        )


class PartInvalid(ValueError):
    """A part on disk can't be read: expected what an earlier `meshrelay compare` left; remove it to measure anew."""


class Parts:
    """A folder of parts."""

    def __init__(self, folder: Path, origin: Provenance | None = None) -> None:
        """`origin` is noted for what is kept: which code, when, on which machine."""
        self.folder = folder
        self._origin = origin

    def origin(self, name: str) -> Provenance | None:
        """Where a part comes from, if that was noted. Raises PartInvalid, OSError."""
        return self._origins().get(name)

    def _origins(self) -> dict[str, Provenance]:
        path = self.folder / ORIGINS
        return _decoded(path, dict[str, Provenance]) if path.exists() else {}

    def simulated(self, transport: str) -> Simulated | None:
        """The simulated trials of an option. Raises PartInvalid, OSError."""
        return self.read(f"simulated-{transport}.json", Simulated)

    def chaos(self, transport: str) -> CampaignReport | None:
        """The chaos campaign of an option, once it was played to its end. Raises PartInvalid, OSError."""
        return self.read(f"chaos-{transport}.json", CampaignReport)

    def samples(self) -> list[Sample]:
        """What was measured of scale. Raises PartInvalid, OSError."""
        return self.read("scale.json", list[Sample]) or []

    def replays(self) -> list[ReplaySample]:
        """What was measured of replays. Raises PartInvalid, OSError."""
        return self.read("replays.json", list[ReplaySample]) or []

    def simulated_scale(self) -> SimulatedScale:
        """What was counted of scale in simulated worlds. Raises PartInvalid, OSError."""
        return self.read(SIMULATED_SCALE, SimulatedScale) or SimulatedScale()

    def keep(self, name: str, part: object) -> None:
        """Write a part, whole or not at all, and where it comes from. Raises PartInvalid, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / name, part)
        if self._origin is not None:
            _write(self.folder / ORIGINS, dict(sorted((self._origins() | {name: self._origin}).items())))

    def read(self, name: str, kind: type[T]) -> T | None:
        """A part, or None if there is none. Raises PartInvalid, OSError."""
        path = self.folder / name
        return _decoded(path, kind) if path.exists() else None


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise PartInvalid(f"{path}: expected a part of a comparison: {error}; remove it to measure anew") from None


def _write(path: Path, value: object) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    beside.replace(path)
