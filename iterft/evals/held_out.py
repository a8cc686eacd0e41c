"""Held-out accuracy: one greedy turn per sample, verified; by kind, by failure reason, with a confidence interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterft.data import by_tool_list, kind_of
from iterft.log import Log
from iterft.protocols import Policy
from iterft.rollout import World, roll_out
from iterft.types import Sample


@dataclass(frozen=True)
class Scores:
    """`passed` per sample id; the rest follows from it, from which samples show the same tools, and the failures."""

    passed: Mapping[str, bool]
    lists: Sequence[Sequence[str]]
    by_kind: Mapping[str, tuple[int, int]]
    reasons: Mapping[str, int]

    @property
    def accuracy(self) -> float:
        return sum(self.passed.values()) / len(self.passed)

    @property
    def interval(self) -> tuple[float, float]:
        return interval_over_lists([[self.passed[name] for name in names] for names in self.lists])


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
    lists = [[sample.id for sample in group] for group in by_tool_list(samples)]
    return Scores(passed, lists, dict(sorted(kinds.items())), dict(reasons.most_common()))


def interval_over_lists(passed: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """The 95 % interval of the share that passed, of items in groups that show the same tools and so pass or fail
    alike: Wilson's for as many independent items as tell as much (Kish's design effect, at least 1). One group alone
    tells nothing of others: its items count as independent, and the interval is about these tools."""
    total, share = sum(map(len, passed)), fmean(item for group in passed for item in group)
    effect = 1.0
    if len(passed) > 1 and 0 < share < 1:
        spread = sum((sum(group) - share * len(group)) ** 2 for group in passed) * len(passed) / (len(passed) - 1)
        effect = max(1.0, spread * (total - 1) / (total * total * share * (1 - share)))
    return wilson(share * total / effect, total / effect)


def wilson(successes: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (95 % at the default z)."""
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (centre - half) / scale, (centre + half) / scale
