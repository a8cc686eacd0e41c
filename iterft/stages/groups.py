"""What group optimization learns from: the turns that a policy wrote for one prompt, with their rewards."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from iterft.chat import think_span
from iterft.data import by_tool_list
from iterft.protocols import Policy
from iterft.rollout import Rollout, seed_of
from iterft.types import Sample


@dataclass(frozen=True)
class Group:
    """The turns of one prompt, as ids; of each which tokens lie inside its think part, and its reward."""

    prompt: tuple[int, ...]
    turns: tuple[tuple[int, ...], ...]
    thought: tuple[tuple[bool, ...], ...]
    rewards: tuple[float, ...]

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.turns))

    @property
    def agrees(self) -> bool:
        return len(set(self.rewards)) == 1


def group_of(policy: Policy, sample: Sample, row: Sequence[Rollout]) -> Group:
    turns = tuple(rollout.completion.ids for rollout in row)
    return Group(
        prompt=policy.render(sample.prompt),
        turns=turns,
        thought=tuple(inside_thought(policy.token_texts(turn)) for turn in turns),
        rewards=tuple(rollout.reward.value for rollout in row),
    )


def inside_thought(token_texts: Sequence[str]) -> tuple[bool, ...]:
    """Which tokens begin between the tags of a turn's think part; none where it has no such part, or leaves it open."""
    start, stop = think_span("".join(token_texts)) or (0, 0)
    begins = accumulate(map(len, token_texts), initial=0)
    return tuple(start <= begin < stop for begin, _ in zip(begins, token_texts, strict=False))


def draw(samples: Sequence[Sample], num_prompts: int, step: int, seed: int) -> list[Sample]:
    """The samples of a step: all in random order over the steps, then all in another; none twice in a step. Those that
    show the same tools come side by side."""
    size = min(num_prompts, len(samples))
    steps_per_pass = len(samples) // size
    order = list(samples)
    random.Random(seed_of(seed, "samples", step // steps_per_pass)).shuffle(order)
    start = step % steps_per_pass * size
    return [sample for group in by_tool_list(order[start : start + size]) for sample in group]
