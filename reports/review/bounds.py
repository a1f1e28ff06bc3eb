"""How sure a count makes one: exact bounds on the share of all trials that would fail, from those that were seen.

Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26
(1934) 404-413, one-sided. For none of n it is 1 - 0.05^(1/n), about 3/n: the rule of three (Hanley and Lippman-Hand,
"If nothing goes wrong, is everything all right?", JAMA 249 (1983) 1743-1745).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal

CONFIDENCE = 0.95


def upper_limit(failures: int, trials: int, confidence: float = CONFIDENCE) -> float | None:
    """The share of failures that is exceeded with no more than 1 - confidence; None without any trial.

    It says something only of trials drawn like these. Raises ValueError for counts that can't be.
    """
    if not 0 <= failures <= trials:
        raise ValueError(f"expected 0 to {trials} failures of {trials} trials, got {failures}")
    if not trials:
        return None
    # half a second to load, and every command would wait for it
    from scipy.stats import binomtest

    test = binomtest(failures, trials, alternative="less")
    return float(test.proportion_ci(confidence_level=confidence, method="exact").high)


def share(value: float) -> str:
    """A share in percent, rounded up to three digits: a limit never seems lower than it is."""
    rounded = Decimal(f"{value * 100:.9g}").normalize(Context(prec=3, rounding=ROUND_CEILING))
    return f"{rounded:f} %"
