"""A run on the real stack that was never made: every section of its page has something."""

from __future__ import annotations

from typing import Literal

from reports.report import FaultShown, GapShown, GuaranteeResult, Latency, Report, Second

GUARANTEES = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")
OUTCOMES: tuple[Literal["replay", "nothing missed", "gap", "410"], ...] = ("replay", "nothing missed", "gap", "410")
WHY = (
    'the event `e-7f3a|<b>&` of agent "a-0041" (cursor AAAAAAAAAAEAAAAAAAAAKg) was acknowledged at 93.704 s and is led '
    "past in silence at 1,203.118 s: neither delivered nor told gone."
)


def real_run(seed: int, verdict: str) -> Report:
    """A run on the real stack, with every section of its own page filled."""
    is_held = verdict == "held"
    return Report(
        verdict="held" if is_held else "violated",
        reason="every guarantee held" if is_held else f"G2 violated: {WHY}",
        exit_code=0 if is_held else 1,
        plan="main",
        seed=seed,
        world="real",
        command=f"meshrelay chaos run --plan main --seed {seed} --keep-the-whole-history-of-this-run-in out/chaos",
        started_at="2026-03-04T06:07:08Z",
        duration_s=241.873,
        retention_critical_s=47.0,
        retention_standard_s=19.0,
        counts={
            "events acknowledged": 8_231,
            "deliveries": 9_417,
            "faults with proof": 23,
            "relay kills": 4,
            "reconnects": 311,
        },
        guarantees=_guarantees(is_broken=not is_held),
        faults=_faults(),
        kills_s=[49.3, 88.1, 143.7, 190.2],
        healed_s=211.4,
        converged_s=213.9,
        timeline=[Second(at_s=float(at), published=30 + at % 7, delivered=31 + at * 7 % 41) for at in range(240)],
        gaps=[
            GapShown(agent=f"a-{place:04}", away_s=0.3 + place * 0.97, outcome=outcome, events=place)
            for place, outcome in enumerate(OUTCOMES * 12)
        ],
        latency=Latency(
            count=9_106,
            p50_ms=3.4,
            p99_ms=87.9,
            max_ms=2_417.3,
            bounds_ms=[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 99_999.0],
            counts=[311, 2_402, 4_110, 1_201, 600, 301, 97, 51, 20, 9, 4],
        ),
        versions={"python": "3.11.2", "nats-server": "2.15.3"},
        notes=["Not played here: power-loss of postgres."],
        history="history.jsonl.zst",
    )


def _guarantees(*, is_broken: bool) -> list[GuaranteeResult]:
    return [
        GuaranteeResult(
            guarantee=name,
            promise=f"{name} in a sentence: what an agent may rely on, whatever happens.",
            verdict="violated" if name == "G2" and is_broken else "held",
            trials=1_903,
            trial="1,903 events that were owed; 77 notices",
            findings=int(name == "G2" and is_broken),
        )
        for name in GUARANTEES
    ]


def _faults() -> list[FaultShown]:
    return [
        FaultShown(
            id=f"f-{place}",
            what=what,
            target="relay->postgres",
            direction="towards the server" if place % 2 else None,
            asked_s=11.3 + 19 * place,
            lifted_s=None if what == "kill" else 17.9 + 19 * place,
            effective=place != 3,
            proof="a probe through the proxy: ConnectionResetError(104, 'Connection reset by peer') after 0.213 s",
        )
        for place, what in enumerate(("cut", "latency", "kill", "half-open", "slice", "pause"))
    ]
