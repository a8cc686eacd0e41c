"""Gumbel top-k with sequential halving at the root, for small budgets (Danihelka et al., "Policy improvement by
planning with Gumbel", ICLR 2022, sections 3 and 5).

The paper knows all actions; here the first steps that were drawn are the actions, drawn until there are enough of them
or nothing is left to draw. Draws are counted, not steps: a likely step that is drawn twice leaves fewer of them. Each
has a Gumbel noise of its own, fixed by seed and step. The budget is then halved over rounds: all remaining steps get
equally many simulations, and the better half by noise + log-prob + sigma(Q) goes on. Below the root the arm is taken
that is furthest behind the improved policy, softmax(log-prob + sigma(Q)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from iterft.config import SearchSettings
from iterft.rollout import seed_of
from iterft.search.selection import UnderWay, num_visits, open_children, value
from iterft.search.tree import EXHAUSTED_MASS, unseen_mass
from iterft.types import Tree

C_VISIT = 50.0
C_SCALE = 0.1
"""sigma(q) = (C_VISIT + max_b N(b)) C_SCALE q; the paper's values, C_SCALE that of its single-player games. Below the
root the node's own N(s) takes part in the maximum: what has not been drawn yet is an arm too."""


def gumbel(tree: Tree, settings: SearchSettings, under_way: UnderWay, seed: int) -> int:
    """See `selection.Select`."""
    arms = open_children(tree, 0)
    wanted = num_considered(settings.num_simulations)
    drawn = tree.nodes[0].expansions + under_way.at[0]
    if not arms or (drawn < wanted and unseen_mass(tree, 0) > EXHAUSTED_MASS):
        return 0
    spent = num_simulations(tree, arms, under_way)
    scale = sigma_scale(tree, arms, under_way)
    liked = {arm: noise(tree, arm, seed) + log_prob(tree, arm) for arm in arms}
    scores = {
        arm: liked[arm] + scale * worth(tree, 0, arm, under_way)
        for arm in sorted(arms, key=lambda arm: -liked[arm])[:wanted]
    }
    times = {arm: math.ceil(spent[arm] / settings.num_samples) for arm in scores}
    elsewhere = tree.simulations + under_way.below[0] - sum(spent[arm] for arm in scores)
    left = max(1, settings.num_simulations - elsewhere)
    schedule = halving(len(scores), math.ceil(left / settings.num_samples))
    allotted = schedule[min(sum(times.values()), len(schedule) - 1)]
    due = [arm for arm in scores if times[arm] == allotted]
    best = max(due or scores, key=lambda arm: scores[arm])
    return below(tree, best, under_way)


def below(tree: Tree, at: int, under_way: UnderWay) -> int:
    """From a node down to where to sample: argmax_a pi'(a) - N(a) / (1 + sum_b N(b))."""
    while True:
        arms = open_children(tree, at)
        scale = sigma_scale(tree, [at, *arms], under_way)
        tried = tree.nodes[at].expansions + under_way.at[at]
        logits = [math.log(max(unseen_mass(tree, at), 1e-9)) + scale * value(tree, at, under_way)]
        logits += [log_prob(tree, arm) + scale * worth(tree, at, arm, under_way) for arm in arms]
        counts = [tried, *(num_visits(tree, arm, under_way) for arm in arms)]
        improved = np.exp(np.array(logits) - max(logits))
        behind = improved / improved.sum() - np.array(counts) / (1 + sum(counts))
        best = int(behind.argmax())
        if best == 0:
            return at
        at = arms[best - 1]


def worth(tree: Tree, at: int, arm: int, under_way: UnderWay) -> float:
    """Mean reward of an arm; of one that nobody has tried, as of steps that were planted, that of its node `at`, which
    stands for the paper's v_mix."""
    return value(tree, arm if num_visits(tree, arm, under_way) else at, under_way)


def num_considered(budget: int) -> int:
    """Steps among which the root's budget is halved."""
    return max(2, math.isqrt(budget))


def halving(num_arms: int, budget: int) -> list[int]:
    """Per selection how many its arm has had: [0, 0, 0, 0, 1, 1, 2, 2] for 4 arms and 8 selections."""
    rounds = max(1, math.ceil(math.log2(num_arms)))
    schedule: list[int] = []
    had, remaining = 0, num_arms
    while len(schedule) < budget:
        for _ in range(max(1, budget // (rounds * remaining))):
            schedule += [had] * remaining
            had += 1
        remaining = max(min(2, num_arms), remaining // 2)
    return schedule[:budget]


def num_simulations(tree: Tree, arms: Sequence[int], under_way: UnderWay) -> dict[int, int]:
    """Per arm the continuations that the search has asked for from inside its subtree."""
    spent = {arm: under_way.below[arm] for arm in arms}
    for at, node in enumerate(tree.nodes):
        if node.expansions:  # few of many nodes: climbing from those costs less than going through every subtree
            while tree.nodes[at].parent > 0:
                at = tree.nodes[at].parent
            if at in spent:
                spent[at] += node.expansions
    return spent


def sigma_scale(tree: Tree, arms: Sequence[int], under_way: UnderWay) -> float:
    return (C_VISIT + max(num_visits(tree, arm, under_way) for arm in arms)) * C_SCALE


def log_prob(tree: Tree, at: int) -> float:
    return sum(tree.nodes[at].step.logprobs)


def noise(tree: Tree, at: int, seed: int) -> float:
    """Standard Gumbel noise of a step, the same whenever it is asked for."""
    generator = np.random.Generator(np.random.Philox(key=[seed, seed_of(tree.nodes[at].step.ids)]))
    return float(generator.gumbel())
