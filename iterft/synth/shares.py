"""How many of the samples come of which kind of dialogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHARES: Mapping[str, float] = {
    "single": 0.30,
    "parallel_same": 0.12,
    "parallel_different": 0.14,
    "dependent": 0.15,
    "asked": 0.10,
    "summary": 0.07,
    "no_tool": 0.12,
}
"""Of the samples, by the kind of their dialogue. About 30 % of all decisions are to call nothing."""
_TOLERANCE = 1e-9


def shares_of(asked: Sequence[str]) -> dict[str, float]:
    """`asked`: "kind=share" each; what they leave is parted among the other kinds as in `SHARES`. ValueError for what
    names no kind or no share, and for shares that are not one in sum."""
    given: dict[str, float] = {}
    for item in asked:
        kind, _, share = item.partition("=")
        if kind not in SHARES:
            raise ValueError(f"--share {item}: there is no such kind; give one of {', '.join(SHARES)}")
        if kind in given:
            raise ValueError(f"--share {item}: {kind} is given twice; leave one out")
        try:
            given[kind] = float(share)
        except ValueError:
            raise ValueError(f"--share {item}: is no share; write {kind}={SHARES[kind]}") from None
        if not 0 <= given[kind] <= 1:
            raise ValueError(f"--share {item}: must lie from 0 to 1")
    left = 1 - sum(given.values())
    others = sum(share for kind, share in SHARES.items() if kind not in given)
    if left < -_TOLERANCE or (left > _TOLERANCE and not others):
        raise ValueError(f"--share: those given are {1 - left:g} in sum; give at most 1, and just 1 for all kinds")
    return {kind: given.get(kind, max(0.0, left) * share / others if others else 0.0) for kind, share in SHARES.items()}
