"""How hard a sample is for the policy to be tuned, and which hardness is worth making (ToolACE, arXiv 2409.00920).

Complexity H = mean negative log-likelihood per token of the reference turn. Below the range is what the policy solves
already, above it what it does not solve even after a short tuning on it. The range is one of samples with calls: a
reply in words is right whatever its words are, so its likelihood says little about whether it would be. Not here: what
becomes of samples outside (`rounds`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from iterft.log import Log
from iterft.protocols import Policy, Serve
from iterft.rollout import World, reference_text, roll_out
from iterft.types import Checkpoint, Sample

MASTERED, LOST = 0.75, 0.25
"""Where at least, or at most, so large a share of samples of like complexity is solved, nothing is to be made."""


@dataclass(frozen=True)
class Learner:
    """The policy to be tuned, by `name`. `tune(samples, out)`: the checkpoint that a short tuning on the samples leaves
    in folder `out`. `max_prompt_tokens`: longer prompts are of no use to it."""

    name: str
    checkpoint: Checkpoint
    serve: Serve
    world: World
    tune: Callable[[Sequence[Sample], Path], Checkpoint]
    max_prompt_tokens: int


@dataclass(frozen=True)
class Range:
    """What lies strictly between the bounds is worth making."""

    lower: float
    upper: float

    def excess(self, complexity: float) -> float:
        """How far outside, as the logarithm of a ratio: above 0 too hard, below 0 too easy, 0 inside."""
        if complexity >= self.upper:
            return max(math.log(complexity / self.upper), _LEAST)
        return min(math.log(complexity / self.lower), -_LEAST) if complexity <= self.lower else 0.0


_LEAST = 1e-6
"""Of a complexity just on a bound, which is outside."""


@dataclass(frozen=True)
class Probe:
    """A range and what tells it: samples with calls, and how many of them were solved before tuning and after."""

    bounds: Range
    num_samples: int
    num_before: int
    num_after: int


def complexities(policy: Policy, world: World, samples: Sequence[Sample]) -> list[float]:
    """H of each sample, greater than 0."""
    prompts = [policy.render(sample.prompt) for sample in samples]
    turns = [policy.encode_turn(reference_text(world.dialect, sample)) for sample in samples]
    return [max(-sum(row) / len(row), _LEAST) for row in policy.logprob(prompts, turns)]


def find_range(learner: Learner, samples: Sequence[Sample], found: Sequence[float], out: Path, log: Log) -> Probe:
    """The range by `samples`, whose complexities are `found`. Greedy turns, before and after a short tuning on these
    very samples, say what is solved. `out`: where the tuned checkpoint goes; one that is there is not tuned again.
    ValueError where no sample has a call."""
    calling = [sample for sample in samples if sample.answer]
    if not calling:
        raise ValueError(
            f"complexity under {learner.name}: none of the {len(samples)} samples of the probe has a call, so there is "
            "nothing to solve; take more samples, or give more tools"
        )
    before = _solved(learner, learner.checkpoint, calling, "before tuning", log)
    after = _solved(learner, Checkpoint(out) if out.exists() else learner.tune(samples, out), calling, "after it", log)
    losses = [loss for sample, loss in zip(samples, found, strict=True) if sample.answer]
    return Probe(range_of(losses, before, after), len(calling), sum(before), sum(after))


def range_of(losses: Sequence[float], before: Sequence[bool], after: Sequence[bool]) -> Range:
    """The range by complexities before tuning and by whether each sample was solved before and after.

    The share that is solved is fitted to fall with the complexity. The lower bound is the highest complexity at which
    it is at least `MASTERED` before, the upper bound the lowest at which it is at most `LOST` after (what was solved
    before counts), so that the lower one is never above the upper one. Wherever the policy stands, its hardest quarter
    is not taken for mastered and its easiest not for lost."""
    ever = [any(each) for each in zip(before, after, strict=True)]
    ordered = sorted(losses)
    easiest, hardest = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    lower = max((loss for loss, share in falling(losses, before) if share >= MASTERED), default=0.0)
    upper = min((loss for loss, share in falling(losses, ever) if share <= LOST), default=math.inf)
    return Range(min(lower, hardest), max(upper, easiest))


def falling(losses: Sequence[float], solved: Sequence[bool]) -> Iterator[tuple[float, float]]:
    """(complexity, share solved), from the lowest complexity on: least squares under the condition that the share never
    rises (neighbours that do are pooled, Ayer et al. 1955)."""
    ordered = sorted(zip(losses, solved, strict=True))
    pools: list[tuple[int, int]] = []
    for _, is_solved in ordered:
        num_solved, size = int(is_solved), 1
        while pools and pools[-1][0] * size <= num_solved * pools[-1][1]:
            earlier = pools.pop()
            num_solved, size = num_solved + earlier[0], size + earlier[1]
        pools.append((num_solved, size))
    shares = [num_solved / size for num_solved, size in pools for _ in range(size)]
    assert all(later <= earlier for earlier, later in pairwise(shares)), "pooled neighbours do not rise"
    return zip((loss for loss, _ in ordered), shares, strict=True)


def _solved(learner: Learner, checkpoint: Checkpoint, samples: Sequence[Sample], when: str, log: Log) -> list[bool]:
    """Whether the greedy turn on each sample passes its verification."""
    with learner.serve(checkpoint) as policy:
        rows = roll_out(policy, learner.world, samples, 1, 0.0, 0, log, f"solved {when}")
    return [row[0].reward.value == 1.0 for row in rows]
