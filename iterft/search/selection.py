"""Where to sample next: every rule as one function of a tree, its settings and what is under way.

All rules see one more arm at every node than it has children, "sample anew here", which stands for the steps that have
not been drawn yet. None descends into a node with an objection, below which nothing can pass, or into an exhausted one.
Continuations that are under way count as visits of value 0 (virtual loss), so that a tree can have several leaves out.

    puct         argmax_a Q(s, a) + c p(a|s) sqrt(N(s)) / (1 + N(s, a)), p = exp(mean log-prob of the step); MCTS-DPO,
                 arXiv 2405.00451, section 3.1. The prior of "sample anew" is the probability that is left unseen
    uct          argmax_a Q(s, a) + c sqrt(ln N(s) / N(s, a)) (Kocsis and Szepesvari 2006); "sample anew" comes first
    gumbel       sequential halving at the root, see `gumbel.py`
    independent  whole turns, always from the root
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from iterft.config import SearchSettings
from iterft.search.tree import EXHAUSTED_MASS, unseen_mass
from iterft.types import Tree

CALL_STEPS = ("name", "argument")
"""Kinds of steps whose tokens decide what a call is."""


@dataclass(frozen=True)
class UnderWay:
    """Continuations that have been asked for and not been laid: below each node, and from each node."""

    below: Counter[int] = field(default_factory=Counter)
    at: Counter[int] = field(default_factory=Counter)

    def add(self, tree: Tree, node: int, count: int) -> None:
        self.at[node] += count
        while node >= 0:
            self.below[node] += count
            node = tree.nodes[node].parent


Select = Callable[[Tree, SearchSettings, UnderWay, int], int]
"""(tree, settings, under way, seed) -> the node below which to sample next."""


def puct(tree: Tree, settings: SearchSettings, under_way: UnderWay, seed: int) -> int:
    at = 0
    while True:
        exploration = settings.c_puct * math.sqrt(max(num_visits(tree, at, under_way), 1))
        tried = tree.nodes[at].expansions + under_way.at[at]
        prior = unseen_mass(tree, at) * urgency(tree, at, settings)
        best, best_score = at, tree.nodes[at].value + exploration * prior / (1 + tried)
        for child in open_children(tree, at):
            visits = num_visits(tree, child, under_way)
            prior = tree.nodes[child].prior * urgency(tree, child, settings)
            score = value(tree, child, under_way) + exploration * prior / (1 + visits)
            if score > best_score:
                best, best_score = child, score
        if best == at:
            return at
        at = best


def uct(tree: Tree, settings: SearchSettings, under_way: UnderWay, seed: int) -> int:
    at = 0
    while True:
        tried = tree.nodes[at].expansions + under_way.at[at]
        arms = open_children(tree, at)
        is_open = unseen_mass(tree, at) > EXHAUSTED_MASS
        if not arms or (is_open and not tried):
            return at
        log_visits = math.log(max(num_visits(tree, at, under_way), 1))
        scores = {}
        if is_open:
            scores[at] = tree.nodes[at].value + settings.c_puct * math.sqrt(log_visits / tried)
        for child in arms:
            visits = max(num_visits(tree, child, under_way), 1)  # planted errors have none
            scores[child] = value(tree, child, under_way) + settings.c_puct * math.sqrt(log_visits / visits)
        best = max(scores, key=lambda arm: scores[arm])
        if best == at:
            return at
        at = best


def independent(tree: Tree, settings: SearchSettings, under_way: UnderWay, seed: int) -> int:
    return 0


def open_children(tree: Tree, at: int) -> Sequence[int]:
    """Those below which something new can be right."""
    return [
        child
        for child in tree.nodes[at].children
        if not tree.nodes[child].exhausted and not tree.nodes[child].objection
    ]


def num_visits(tree: Tree, at: int, under_way: UnderWay) -> int:
    return tree.nodes[at].visits + under_way.below[at]


def value(tree: Tree, at: int, under_way: UnderWay) -> float:
    """Mean reward, those under way counted as 0."""
    visits = num_visits(tree, at, under_way)
    return tree.nodes[at].value_sum / visits if visits else 0.0


def urgency(tree: Tree, at: int, settings: SearchSettings) -> float:
    """By how much the prior of drawing from a node, or of going there, is raised because of its entropy."""
    return 1 + settings.entropy_weight * step_entropy(tree, at) if settings.entropy_weight else 1.0


def step_entropy(tree: Tree, at: int) -> float:
    """Entropy in nats of the policy's choice of a tool name or argument at a node, estimated by the mean of -log p over
    the steps drawn there; 0 where none was."""
    drawn = [child for child in tree.nodes[at].children if not tree.nodes[child].planted]
    steps = [(tree.nodes[child].visits, tree.nodes[child].step) for child in drawn]
    calls = [(visits, -sum(step.logprobs)) for visits, step in steps if step.kind in CALL_STEPS]
    total = sum(visits for visits, _ in calls)
    return sum(visits * surprise for visits, surprise in calls) / total if total else 0.0
