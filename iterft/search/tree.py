"""Growing a tree: laying turns into it, backing values up. The search decides where; this file does it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from iterft.protocols import Policy
from iterft.rollout import World, read_turn
from iterft.search.steps import cut
from iterft.types import FinishReason, Node, Sample, Step, Tree

EXHAUSTED_MASS = 0.05
"""A node whose children are all exhausted is too, once this probability at most is left unseen."""


def new_tree(sample: Sample, prompt_ids: tuple[int, ...]) -> Tree:
    """A tree of just the root, which stands for the prompt."""
    return Tree(
        sample.id, prompt_ids, [Node(parent=-1, step=Step("root", (), ()), prior=1.0)], needs_call=bool(sample.answer)
    )


def lay(
    tree: Tree,
    sample: Sample,
    at: int,
    ids: Sequence[int],
    logprobs: Sequence[float],
    finish_reason: FinishReason,
    policy: Policy,
    world: World,
    step: str,
    *,
    planted: bool = False,
    grade: float | None = None,
    self_weight: float = 0.0,
) -> int:
    """Lays the continuation `ids` below node `at` as a chain of steps, merges with equal steps that are there, verifies
    the whole turn and backs its reward up (not that of a planted wrong turn, which nobody drew). A `grade` counts for
    `self_weight` of what is backed up. Returns the terminal node."""
    written = tree.path_ids(at)
    if not planted:
        tree.nodes[at].expansions += 1
    turn_ids = (*written, *ids)
    turn_logprobs = (*(0.0 for _ in written), *logprobs)
    for span in cut(world.dialect, step, policy.token_texts(turn_ids), finish_reason, begin=len(written)):
        child = child_with(tree, at, span.kind, turn_ids[span.start : span.stop])
        if child is None:
            child = len(tree.nodes)
            scores = turn_logprobs[span.start : span.stop]
            objection = tree.nodes[at].objection or world.verifier.objection(sample, span.partial)
            tree.nodes.append(
                Node(
                    parent=at,
                    step=Step(span.kind, turn_ids[span.start : span.stop], scores),
                    prior=math.exp(sum(scores) / len(scores)),
                    objection=objection,
                    planted=planted,
                )
            )
            tree.nodes[at].children.append(child)
        elif not planted:
            tree.nodes[child].planted = False
        at = child
    leaf = tree.nodes[at]
    if leaf.reward is None and finish_reason == "refuted":
        assert leaf.objection, "a turn is refuted by an objection"
        leaf.reward = 0.0
    elif leaf.reward is None:
        verdict = world.judge(sample, read_turn(policy, world.dialect, turn_ids, finish_reason))
        leaf.reward, leaf.objection = verdict.value, leaf.objection or verdict.reason
    leaf.grade = grade
    if not (planted and leaf.objection):
        back_up(tree, at, leaf.reward if grade is None else (1 - self_weight) * leaf.reward + self_weight * grade)
    settle(tree, at)
    return at


def child_with(tree: Tree, at: int, kind: str, ids: tuple[int, ...]) -> int | None:
    """The child of that step. The kind counts: a turn cut off at a boundary has the ids of the step that ends there."""
    steps = ((child, tree.nodes[child].step) for child in tree.nodes[at].children)
    return next((child for child, step in steps if step.kind == kind and step.ids == ids), None)


def back_up(tree: Tree, at: int, reward: float) -> None:
    """Adds one visit of `reward` to every node from `at` up to the root."""
    while at >= 0:
        tree.nodes[at].visits += 1
        tree.nodes[at].value_sum += reward
        at = tree.nodes[at].parent


def unseen_mass(tree: Tree, at: int) -> float:
    """Probability, under the policy, of the steps that have not been sampled below `at`. A turn that was cut off where
    a step ends is that step."""
    steps = (tree.nodes[child].step for child in tree.nodes[at].children)
    seen = {step.ids: sum(step.logprobs) for step in steps}
    return max(0.0, 1.0 - sum(map(math.exp, seen.values())))


def settle(tree: Tree, at: int) -> None:
    """Marks, from `at` upwards, what needs no further look: terminal or wrong nodes, and nodes whose children are all
    exhausted and leave little unseen. One that was exhausted is open again where something open came below it."""
    while at >= 0:
        node = tree.nodes[at]
        has_ended = node.reward is not None or bool(node.objection)
        has_open = any(not tree.nodes[child].exhausted for child in node.children)
        node.exhausted = has_ended or not (has_open or unseen_mass(tree, at) > EXHAUSTED_MASS)
        at = node.parent


def has_success(tree: Tree) -> bool:
    """A completion that was sampled, not planted, passed its verification."""
    return any(node.reward == 1.0 and not node.planted for node in tree.nodes)
