"""Step 1: where is this policy weak, and why.

Two signals per candidate: the perplexity of the reference turn, exp(-1/|y| sum log p(y_t | x, y_<t)) (iTool, section
3), and the policy's own feedback: k sampled turns, their pass rate and the named reason of each failure. A candidate is
deficient when some sampled turn fails, mastered when none does; call and no-call samples are ranked apart. State is
kept over iterations: a sample that is mended leaves, one that never succeeds rests after a number of tries, both until
no others are left. Beside the candidates in-batch negatives are checked: made samples, so no state is kept of them.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from iterft.config import DeficiencySettings
from iterft.data import in_blocks
from iterft.log import Log
from iterft.negatives import in_batch_negatives
from iterft.protocols import Policy
from iterft.rollout import World, reference_turns, roll_out, seed_of
from iterft.types import Check, Checked, Sample, Standing


def find_deficient(
    policy: Policy,
    world: World,
    samples: Sequence[Sample],
    history: Mapping[str, Standing],
    settings: DeficiencySettings,
    seed: int,
    log: Log,
    *,
    plant: bool,
    whole_turns: bool,
    max_prompt_tokens: int = sys.maxsize,
) -> Check:
    """Draws turns for some samples and says which are deficient, by what can be learnt from them within call and
    no-call, and which are mastered, in-batch negatives apart; `history` is what earlier checks know.

    `plant` says whether the search may plant references: without it, a sample of pass rate 0 teaches nothing.
    `whole_turns`: wrong turns go on after their first error. `max_prompt_tokens`: of in-batch negatives, whose tools
    are another's."""
    candidates = pick_candidates(samples, history, settings, seed)

    def fits(sample: Sample) -> bool:
        return len(policy.render(sample.prompt)) <= max_prompt_tokens

    asked = [*candidates, *in_batch_negatives(candidates, settings.negative_share, seed, fits)]
    references = reference_turns(policy, world, asked)
    rows = roll_out(
        policy,
        world,
        asked,
        settings.num_samples,
        settings.temperature,
        seed,
        log,
        "deficiency",
        to_the_end=whole_turns,
    )
    checked = []
    for sample, rollouts, turns in zip(asked, rows, references, strict=True):
        passed = sum(rollout.reward.value == 1.0 for rollout in rollouts)
        checked.append(
            Checked(
                sample=sample,
                perplexity=math.exp(-sum(turns[0].logprobs) / len(turns[0].logprobs)),
                pass_rate=passed / len(rollouts),
                reasons=Counter(rollout.reward.reason for rollout in rollouts if rollout.reward.value < 1.0),
                completions=tuple(rollout.completion for rollout in rollouts),
                references=turns,
            )
        )
    negatives, checked = checked[len(candidates) :], checked[: len(candidates)]
    standings = dict(history)
    for item in checked:
        before = history.get(item.sample.id, Standing())
        fruitless = before.fruitless + 1 if item.pass_rate == 0 else 0
        standings[item.sample.id] = replace(
            before, checks=before.checks + 1, fruitless=fruitless, pass_rate=item.pass_rate
        )
    deficient = [item for item in checked if item.pass_rate < 1 and (plant or item.pass_rate > 0)]
    weak = (
        *most_learnable([item for item in deficient if item.sample.answer], settings.share),
        *most_learnable([item for item in deficient if not item.sample.answer], settings.share),
    )
    return Check(weak, tuple(item for item in checked if item.pass_rate == 1), standings, tuple(negatives))


def pick_candidates(
    samples: Sequence[Sample], history: Mapping[str, Standing], settings: DeficiencySettings, seed: int
) -> list[Sample]:
    """Samples still deficient first (never more than half), then new ones, then, if those run out, mended and resting
    ones, mixed; each group in seeded order."""
    known_weak, new, last = [], [], []
    for sample in samples:
        standing = history.get(sample.id)
        if standing is None:
            new.append(sample)
        elif standing.pass_rate == 1.0 or standing.fruitless >= settings.max_tries:
            last.append(sample)
        else:
            known_weak.append(sample)
    chooser = random.Random(seed_of(seed, "candidates"))
    known_weak, new, last = (
        shuffled(group, settings.candidates_per_list, chooser) for group in (known_weak, new, last)
    )
    half = settings.num_candidates // 2
    ordered = [*known_weak[:half], *new, *known_weak[half:], *last]
    return ordered[: settings.num_candidates]


def shuffled(samples: list[Sample], num_per_list: int, chooser: random.Random) -> list[Sample]:
    """In random order, but of one tool list, computed once for all, some side by side, see `in_blocks`."""
    chooser.shuffle(samples)
    return in_blocks(samples, num_per_list)


def most_learnable(items: list[Checked], share: float) -> list[Checked]:
    """The `share` of items from which most can be learnt: first those that sometimes succeed, whose right and wrong
    turns are both the policy's own; then those that never do. Lowest pass rate first, ties by the perplexity of their
    reference."""
    ranked = sorted(items, key=lambda item: (item.pass_rate == 0, item.pass_rate, -item.perplexity, item.sample.id))
    return ranked[: math.ceil(share * len(ranked))]
