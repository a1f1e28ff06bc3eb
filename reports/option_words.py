"""What follows from the options' costs and promises, in sentences. Pure.

Nothing here knows an option's name by heart but to show it; every sentence is computed from the numbers beside it. One
rule for all of them: an option is *cheaper in a cost* if it is so in every run at more than half of the sizes. Where it
is so at fewer, the sentence says at which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reports.options import ADR_SIZE, CHOSEN, METRICS, OPTIONS, REPLAY, REPLAY_WORDS, SIMULATED, Crossing

WORDS = SIMULATED | METRICS | {REPLAY: f"{REPLAY_WORDS}, by its length (none of the {len(METRICS)} costs)"}


class Judged(Protocol):
    """A guarantee of an option, with what became of it."""

    @property
    def guarantee(self) -> str:
        """Its name."""

    @property
    def transport(self) -> str:
        """The option."""

    @property
    def verdict(self) -> str:
        """Held, violated, not offered, not run."""


def sentence_of(crossing: Crossing) -> str:
    """One comparison in words."""
    why = f"; {crossing.reason}" if crossing.reason else ""
    return f"{WORDS[crossing.metric]}: {_found(crossing)}; {_ratios(crossing)}{why}."


def _found(crossing: Crossing) -> str:
    """Who is cheaper at which sizes."""
    if crossing.between is not None:
        low, high = crossing.between
        order = sorted((crossing.one, crossing.other), key=crossing.at_of)
        ends = ", ".join(f"{OPTIONS[name]} is cheaper at {_numbers(crossing.at_of(name))}" for name in order)
        return f"they cross at about {crossing.at:,.0f} {_unit(crossing)} (between {low:,} and {high:,}): {ends}"
    if crossing.cheaper_large is None:
        return "no clear difference: the runs overlap at every size"
    at, count = crossing.at_of(crossing.cheaper_large), len(crossing.sizes)
    name = OPTIONS[crossing.cheaper_large]
    if len(at) == count:
        return f"{name} is cheaper at every size"
    found = f"{name} is cheaper at {len(at)} of {count} sizes ({_numbers(at)} {_unit(crossing)})"
    return f"{found}, the runs overlap at the others{'' if crossing.steady else ': it may be chance'}"


def _ratios(crossing: Crossing) -> str:
    one, other = OPTIONS[crossing.one], OPTIONS[crossing.other]
    small, large = crossing.sizes[0], crossing.sizes[-1]
    if crossing.ratio_small is None or crossing.ratio_large is None:
        return f"{one} costs nothing at {small if crossing.ratio_small is None else large:,} {_unit(crossing)}"
    return (
        f"{other} costs {crossing.ratio_small:.2f} times as much as {one} at {small:,} {_unit(crossing)}, "
        f"{crossing.ratio_large:.2f} times at {large:,}"
    )


def answer_of(
    crossings: Sequence[Crossing],
    cells: Sequence[Judged],
    replays: Sequence[Crossing] = (),
    *,
    upgrade: str = "jetstream",
) -> list[str]:
    """The answer to the ADR's question, from the comparisons of what was chosen with its upgrade and from the verdicts.

    First what follows for '50+', then what decides it, then what speaks against, then what is no matter of cost.
    """
    ours = _pair(crossings, upgrade)
    if not ours:
        return [f"Nothing can be said of '{ADR_SIZE}+': no size was measured with both options."]
    for_it = [one for one in ours if one.at_of(upgrade)]
    against = [one for one in ours if one.cheaper_large == CHOSEN]
    lines = [_threshold(ours, upgrade), *map(sentence_of, for_it)]
    if against:
        lines.append(f"Against it: {'; '.join(short(one.metric) for one in against)}.")
        lines += [sentence_of(one) for one in against if one not in for_it]
    lines += map(sentence_of, _pair(replays, upgrade))
    less = _broken(cells, upgrade)
    if less:
        named = "; ".join(f"{cell.guarantee} {cell.verdict}" for cell in less)
        lines.append(f"Cost aside, {OPTIONS[upgrade]} gives less: {named}.")
    return lines


def _threshold(ours: Sequence[Crossing], upgrade: str) -> str:
    """What the numbers say of a threshold, in one sentence with every cost in which the upgrade is ever cheaper."""
    name, chosen = OPTIONS[upgrade], OPTIONS[CHOSEN]
    largest = max(one.sizes[-1] for one in ours)
    crossed = [one for one in ours if one.between is not None and one.cheaper_small != one.cheaper_large]
    later = sorted((one for one in crossed if one.cheaper_large == upgrade), key=lambda one: one.at or 0.0)
    below = [one for one in crossed if one.cheaper_small == upgrade]
    most = [one for one in ours if one not in crossed and one.steady == upgrade]
    some = [one for one in ours if one not in (*crossed, *most) and one.at_of(upgrade)]
    parts = []
    if most:
        parts.append(f"at most sizes in {len(most)} ({'; '.join(short(one.metric) for one in most)})")
    if below:
        named = "; ".join(f"{short(one.metric)}: below about {one.at:,.0f} agents" for one in below)
        parts.append(f"in {len(below)} only below a crossing ({named})")
    if some:
        named = "; ".join(f"{short(one.metric)}: {_numbers(one.at_of(upgrade))} agents" for one in some)
        parts.append(f"in {len(some)} at fewer sizes, which may be chance ({named})")
    rest = f"; it is cheaper {', and '.join(parts)}" if parts else ""
    if later:
        fits = "fits" if any(ADR_SIZE / 2 <= (one.at or 0.0) <= ADR_SIZE * 2 for one in later) else "does not fit"
        named = "; ".join(f"{short(one.metric)}: from about {one.at:,.0f} agents on" for one in later)
        return (
            f"'{ADR_SIZE}+' {fits} the figures: {name} becomes cheaper than {chosen} in {len(later)} of {len(METRICS)} "
            f"costs as agents become more ({named}), measured up to {largest:,}{rest}."
        )
    verdict = "is no threshold" if parts else "is not shown"
    return (
        f"'{ADR_SIZE}+' {verdict}: as agents become more, up to {largest:,}, {name} becomes cheaper than {chosen} in "
        f"none of {len(METRICS)} costs{rest}."
    )


def redundancy_of(
    crossings: Sequence[Crossing],
    cells: Sequence[Judged],
    replays: Sequence[Crossing] = (),
    *,
    other: str = "redis",
) -> list[str]:
    """Whether an option is redundant beside what was chosen: it is if it keeps no promise more, nor costs less."""
    name, chosen = OPTIONS[other], OPTIONS[CHOSEN]
    ours = _pair(crossings, other)
    judged = [cell for cell in cells if cell.transport == other and cell.verdict != "not run"]
    if not ours and not judged:
        return [f"Nothing can be said of {name}: nothing was measured of it beside {chosen}."]
    failing = {cell.guarantee for cell in _broken(cells, CHOSEN)}
    gained = [cell.guarantee for cell in judged if cell.verdict == "held" and cell.guarantee in failing]
    every = [*ours, *_pair(replays, other)]
    cheaper = [one for one in every if one.steady == other]
    at_some = [one for one in every if one.at_of(other) and one not in cheaper]
    dearer = [one for one in ours if one.steady == CHOSEN]
    found = [f"it keeps {', '.join(gained)}, which {chosen} does not"] if gained else []
    found += [f"it is cheaper in {'; '.join(short(one.metric) for one in cheaper)}"] if cheaper else []
    cheap = f"is in none of {len(METRICS)} costs cheaper at more than half of the sizes"
    if found:
        lines = [f"{name} is not redundant: {'; '.join(found)}."]
    elif ours and judged:
        largest = max(one.sizes[-1] for one in ours)
        few = "; ".join(f"{short(one.metric)} {_fewer(one, other)}" for one in at_some)
        lines = [
            f"{name} is redundant: it keeps no promise that {chosen} does not, and {cheap}, up to {largest:,} agents"
            + (f". It is cheaper at fewer, which may be chance, in: {few}." if few else ".")
        ]
    else:
        known, unknown = (cheap, "promises") if ours else ("keeps no promise more", "costs")
        lines = [f"Whether {name} is redundant is half shown: it {known}, and nothing is known of its {unknown}."]
    lines += map(sentence_of, [*cheaper, *at_some])
    if dearer:
        lines.append(f"{name} costs clearly more in {len(dearer)} of {len(METRICS)} costs at most sizes.")
    lost = "; ".join(f"{cell.guarantee} {cell.verdict}" for cell in _broken(cells, other))
    return [*lines, f"{name} gives less: {lost}."] if lost else lines


def short(metric: str) -> str:
    """A cost's name without its unit."""
    return REPLAY_WORDS.rsplit(", ", 1)[0] if metric == REPLAY else WORDS[metric].rsplit(", ", 1)[0]


def _fewer(crossing: Crossing, option: str) -> str:
    at = crossing.at_of(option)
    return f"at {len(at)} of {len(crossing.sizes)} ({_numbers(at)} {_unit(crossing)})"


def _pair(crossings: Sequence[Crossing], other: str) -> list[Crossing]:
    return [one for one in crossings if {one.one, one.other} == {CHOSEN, other}]


def _broken(cells: Sequence[Judged], option: str) -> list[Judged]:
    return [cell for cell in cells if cell.transport == option and cell.verdict in ("violated", "not offered")]


def _unit(crossing: Crossing) -> str:
    return "events missed" if crossing.metric == REPLAY else "agents"


def _numbers(sizes: Sequence[int]) -> str:
    """Such as `10, 50 and 1,000`."""
    named = [f"{size:,}" for size in sizes]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
