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

from iterft.config import SearchSettings
from iterft.log import Log
from iterft.protocols import Policy, TreeJournal
from iterft.rollout import World, reference_calls, reference_text, seed_of
from iterft.search.tree import has_success, lay, new_tree, unseen_mass
from iterft.types import Deficient, Sample, Tree

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
) -> list[Tree]:
    """One tree per weak sample, in order. Trees in the journal are taken from there. `whole_turns`: wrong turns go on
    after their first error.

    A group of which one tree is missing is grown again as a whole, from a policy that remembers nothing: what shares a
    batch decides the last digits of log-probs, so only thus does a killed search end as an undisturbed one."""
    finished = journal.read()
    with log.progress("search", len(weak)) as advance:
        for start in range(0, len(weak), TREES_IN_FLIGHT):
            group = weak[start : start + TREES_IN_FLIGHT]
            if any(item.sample.id not in finished for item in group):
                policy.forget()
                for tree in grow(policy, world, group, settings, seed, whole_turns):
                    if tree.sample_id not in finished:
                        journal.append(tree)
                        finished[tree.sample_id] = tree
            advance(len(group))
    return [finished[item.sample.id] for item in weak]


def grow(
    policy: Policy,
    world: World,
    group: Sequence[Deficient],
    settings: SearchSettings,
    seed: int,
    whole_turns: bool,
) -> list[Tree]:
    """Grows the trees of `group` together until each has its simulations or is exhausted."""
    trees = [sow(policy, world, item, settings) for item in group]
    if settings.plant:
        plant(policy, world, group, trees, settings.step)
    while True:
        ready = [
            (item.sample, tree)
            for item, tree in zip(group, trees, strict=True)
            if tree.simulations < settings.num_simulations and not tree.nodes[0].exhausted
        ]
        if not ready:
            return trees
        expand(policy, world, ready, settings, seed, whole_turns)


def expand(
    policy: Policy,
    world: World,
    ready: Sequence[tuple[Sample, Tree]],
    settings: SearchSettings,
    seed: int,
    whole_turns: bool,
) -> None:
    """One round: selects a node in every tree and lays what is sampled below it."""
    nodes = [select(tree, settings.c_puct) for _, tree in ready]
    written = [tree.path_ids(node) for (_, tree), node in zip(ready, nodes, strict=True)]

    def refute(index: int, ids: Sequence[int]) -> bool:
        return world.refutes(policy, ready[index][0], (*written[index], *ids))

    rows = policy.sample(
        [tree.prompt_ids + ids for (_, tree), ids in zip(ready, written, strict=True)],
        [min(settings.num_samples, settings.num_simulations - tree.simulations) for _, tree in ready],
        settings.temperature,
        [seed_of(seed, sample.id, tree.simulations) for sample, tree in ready],
        refute=None if whole_turns else refute,
    )
    for (sample, tree), node, completions in zip(ready, nodes, rows, strict=True):
        for row in completions:
            lay(tree, sample, node, row.ids, row.logprobs, row.finish_reason, policy, world, settings.step)
            tree.sampled_tokens += len(row.ids)
        tree.simulations += len(completions)


def sow(policy: Policy, world: World, item: Deficient, settings: SearchSettings) -> Tree:
    """A tree that starts from the turns the deficiency check has sampled."""
    tree = new_tree(item.sample, policy.render(item.sample.prompt))
    for row in item.completions:
        lay(tree, item.sample, 0, row.ids, row.logprobs, row.finish_reason, policy, world, settings.step)
    return tree


def plant(policy: Policy, world: World, group: Sequence[Deficient], trees: Sequence[Tree], step: str) -> None:
    """Lays the reference turn into every tree in which no sampled turn has passed. Of a reference of several calls also
    its beginnings, turns that end too early: sampling seldom gets that far and would only show where to stop."""
    rows: list[tuple[Sample, Tree, tuple[int, ...]]] = []
    for item, tree in zip(group, trees, strict=True):
        calls = reference_calls(item.sample)
        texts = [] if has_success(tree) else [reference_text(world.dialect, item.sample)]
        texts += [world.dialect.render(calls[:count]) for count in range(1, len(calls))]
        rows += [(item.sample, tree, policy.encode_turn(text)) for text in texts]
    scores = policy.logprob([tree.prompt_ids for _, tree, _ in rows], [ids for _, _, ids in rows])
    for (sample, tree, ids), logprobs in zip(rows, scores, strict=True):
        lay(tree, sample, 0, ids, logprobs, "stop", policy, world, step, planted=True)


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
