"""Held-out accuracy: one greedy turn per sample, verified; by kind, by failure reason, with a confidence interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterft.data import kind_of
from iterft.log import Log
from iterft.protocols import Policy
from iterft.rollout import World, roll_out
from iterft.types import Sample


@dataclass(frozen=True)
class Scores:
    """`passed` per sample id; the rest follows from it and the failures."""

    passed: Mapping[str, bool]
    by_kind: Mapping[str, tuple[int, int]]
    reasons: Mapping[str, int]

    @property
    def accuracy(self) -> float:
        return sum(self.passed.values()) / len(self.passed)

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(sum(self.passed.values()), len(self.passed))


def evaluate_held_out(policy: Policy, world: World, samples: Sequence[Sample], log: Log) -> Scores:
    """Greedy turns on `samples` (at least one)."""
    rows = roll_out(policy, world, samples, 1, 0.0, 0, log, "evaluation")
    rewards = [row[0].reward for row in rows]
    passed = {sample.id: reward.value == 1.0 for sample, reward in zip(samples, rewards, strict=True)}
    kinds: dict[str, tuple[int, int]] = {}
    for sample in samples:
        right, total = kinds.get(kind_of(sample), (0, 0))
        kinds[kind_of(sample)] = (right + passed[sample.id], total + 1)
    reasons = Counter(reward.reason for reward in rewards if reward.value < 1.0)
    return Scores(passed, dict(sorted(kinds.items())), dict(reasons.most_common()))


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (95 % at the default z)."""
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (centre - half) / scale, (centre + half) / scale
