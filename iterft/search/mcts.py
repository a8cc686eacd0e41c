"""PUCT over structural steps, many trees at a time.

A round selects one node in every tree, samples continuations of all of them to the end of the turn in one call of the
policy, lays each into its tree and backs its verdict up. Selection is PUCT (MCTS-DPO, arXiv 2405.00451, section 3.1):

    argmax_a Q(s, a) + c_puct p(a|s) sqrt(N(s)) / (1 + N(s, a)),  p = exp(mean log-prob of the step)

with one more arm at every node, "sample anew here", whose prior is the probability that its children leave unseen.
Nodes with an objection are never descended: nothing below them can pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from iterft.config import SearchSettings
from iterft.log import Log
from iterft.protocols import Grader, Policy, TreeJournal
from iterft.rollout import World, read_text, seed_of
from iterft.search.tree import has_success, lay, new_tree, unseen_mass
from iterft.types import Deficient, FinishReason, Sample, Tree

TREES_IN_FLIGHT = 64
"""Trees that grow together; finished groups are journalled, so this is also what a kill can cost."""


def search(
    policy: Policy,
    world: World,
    weak: Sequence[Deficient],
    settings: SearchSettings,
    seed: int,
    journal: TreeJournal,
    log: Log,
    *,
    whole_turns: bool,
    grader: Grader | None = None,
) -> list[Tree]:
    """One tree per weak sample, in order. Trees in the journal are taken from there. `whole_turns`: wrong turns go on
    after their first error. `grader`: has `settings.self_weight` of the value of turns that have ended.

    A group of which one tree is missing is grown again as a whole, from a policy that remembers nothing: what shares a
    batch decides the last digits of log-probs, so only thus does a killed search end as an undisturbed one."""
    finished = journal.read()
    ground = Ground(policy, world, settings, whole_turns, grader)
    with log.progress("search", len(weak)) as advance:
        for start in range(0, len(weak), TREES_IN_FLIGHT):
            group = weak[start : start + TREES_IN_FLIGHT]
            if any(item.sample.id not in finished for item in group):
                policy.forget()
                for tree in grow(ground, group, seed):
                    if tree.sample_id not in finished:
                        journal.append(tree)
                        finished[tree.sample_id] = tree
            advance(len(group))
    return [finished[item.sample.id] for item in weak]


@dataclass(frozen=True)
class Ground:
    """What all trees of a search grow on."""

    policy: Policy
    world: World
    settings: SearchSettings
    whole_turns: bool
    grader: Grader | None


@dataclass(frozen=True)
class Shoot:
    """A continuation to be laid into a tree below its node `at`."""

    sample: Sample
    tree: Tree
    at: int
    ids: Sequence[int]
    logprobs: Sequence[float]
    finish_reason: FinishReason
    planted: bool = False


def grow(ground: Ground, group: Sequence[Deficient], seed: int) -> list[Tree]:
    """Grows the trees of `group` together until each has its simulations or is exhausted."""
    trees = [new_tree(item.sample, ground.policy.render(item.sample.prompt)) for item in group]
    sow(ground, group, trees)
    if ground.settings.plant:
        plant(ground, group, trees)
    while True:
        ready = [
            (item.sample, tree)
            for item, tree in zip(group, trees, strict=True)
            if tree.simulations < ground.settings.num_simulations and not tree.nodes[0].exhausted
        ]
        if not ready:
            return trees
        expand(ground, ready, seed)


def expand(ground: Ground, ready: Sequence[tuple[Sample, Tree]], seed: int) -> None:
    """One round: selects a node in every tree and lays what is sampled below it."""
    policy, settings = ground.policy, ground.settings
    nodes = [select(tree, settings.c_puct) for _, tree in ready]
    written = [tree.path_ids(node) for (_, tree), node in zip(ready, nodes, strict=True)]

    def refute(index: int, ids: Sequence[int]) -> bool:
        return ground.world.refutes(policy, ready[index][0], (*written[index], *ids))

    rows = policy.sample(
        [tree.prompt_ids + ids for (_, tree), ids in zip(ready, written, strict=True)],
        [min(settings.num_samples, settings.num_simulations - tree.simulations) for _, tree in ready],
        settings.temperature,
        [seed_of(seed, sample.id, tree.simulations) for sample, tree in ready],
        refute=None if ground.whole_turns else refute,
    )
    shoots = []
    for (sample, tree), node, completions in zip(ready, nodes, rows, strict=True):
        shoots += [Shoot(sample, tree, node, row.ids, row.logprobs, row.finish_reason) for row in completions]
        tree.sampled_tokens += sum(len(row.ids) for row in completions)
        tree.simulations += len(completions)
    lay_all(ground, shoots)


def sow(ground: Ground, group: Sequence[Deficient], trees: Sequence[Tree]) -> None:
    """Lays the turns that the deficiency check has sampled."""
    lay_all(
        ground,
        [
            Shoot(item.sample, tree, 0, row.ids, row.logprobs, row.finish_reason)
            for item, tree in zip(group, trees, strict=True)
            for row in item.completions
        ],
    )


def plant(ground: Ground, group: Sequence[Deficient], trees: Sequence[Tree]) -> None:
    """Lays the reference turn into every tree in which no sampled turn has passed. Of a reference of several calls also
    its beginnings: sampling seldom gets that far and would only show where to stop."""
    lay_all(
        ground,
        [
            Shoot(item.sample, tree, 0, row.ids, row.logprobs, row.finish_reason, planted=True)
            for item, tree in zip(group, trees, strict=True)
            for row in item.references[1 if has_success(tree) else 0 :]
        ],
    )


def lay_all(ground: Ground, shoots: Sequence[Shoot]) -> None:
    """Lays continuations into their trees; turns that have ended by themselves are graded, if there is a grader."""
    grades: dict[int, float] = {}
    if ground.grader is not None:
        ended = [place for place, shoot in enumerate(shoots) if shoot.finish_reason == "stop"]
        texts = [
            read_text(ground.policy, (*shoots[place].tree.path_ids(shoots[place].at), *shoots[place].ids))
            for place in ended
        ]
        grades = dict(zip(ended, ground.grader([shoots[place].sample for place in ended], texts), strict=True))
    for place, shoot in enumerate(shoots):
        lay(
            shoot.tree,
            shoot.sample,
            shoot.at,
            shoot.ids,
            shoot.logprobs,
            shoot.finish_reason,
            ground.policy,
            ground.world,
            ground.settings.step,
            planted=shoot.planted,
            grade=grades.get(place),
            self_weight=ground.settings.self_weight,
        )


def select(tree: Tree, c_puct: float) -> int:
    """The node below which to sample next."""
    at = 0
    while True:
        node = tree.nodes[at]
        exploration = c_puct * math.sqrt(max(node.visits, 1))
        best, best_score = at, node.value + exploration * unseen_mass(tree, at) / (1 + node.expansions)
        for index in node.children:
            child = tree.nodes[index]
            if child.exhausted or child.objection:
                continue
            score = child.value + exploration * child.prior / (1 + child.visits)
            if score > best_score:
                best, best_score = index, score
        if best == at:
            return at
        at = best
