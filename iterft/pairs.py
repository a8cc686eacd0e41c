"""Step 3: trees -> verified preference pairs, with the credit where the error is.

A pair parts at the step that holds the *first* error: rejected = that step, with its named reason; chosen = a sibling
that is compatible with an accepted answer and below which a completion was accepted. Rollout values give the margin and
order candidates; they never overrule compatibility. Where a chosen side exists both sampled and planted, the sampled
one is taken: the policy can produce it. Of words the planted ones are, as nothing verifies what they say. A planted
error is rejected only where the policy is likely to make it. A pair counts as often as its error was drawn: were each
kind of error to count once, the policy would learn to fear what it does rarely, in many ways (say, to refuse), more
than what it does always in one. Each tree adds an anchor, its right turn as a whole: pairs alone would undo decisions
that no error was drawn for (say, to call at all). So do the trees of mastered samples, which hold nothing else: an
update that sees only what is wrong at the moment forgets what was right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from iterft.config import PairSettings
from iterft.types import Node, PreferencePair, Tree

ANCHOR = "anchor"
"""The reason of a pair without a rejected side."""

REVERSES = ("unneeded_call", "no_call")
"""Errors of which one is mended by more of the other."""

NO_PAIRS = (
    "pairs: none was found, so there is nothing to train on; search more (deficiency.num_candidates, "
    "search.num_simulations) or loosen pairs.min_margin"
)

LIKELY = 0.1
"""A planted error counts as the policy's own from this share of the chosen step's probability on."""


@dataclass(frozen=True)
class Mined:
    """The pairs, and what was left out and why."""

    pairs: tuple[PreferencePair, ...]
    dropped: Mapping[str, int]


def mine_pairs(trees: Sequence[Tree], settings: PairSettings) -> Mined:
    """Pairs of all trees, limited per tree, per reason and in all; and the anchors of the trees, if wanted."""
    dropped: Counter[str] = Counter()
    found = [pair for tree in trees for pair in mine_tree(tree, settings, dropped)]
    balanced = balance(found, settings.max_reason_share, dropped)
    dropped["max_pairs"] += max(0, len(balanced) - settings.max_pairs)
    pairs = evenly(balanced, settings.max_pairs)
    if pairs and settings.anchors:
        anchors = [*filter(None, (anchor(tree, settings.num_prose_tokens) for tree in trees))]
        prose = {tree.sample_id for tree in trees if not tree.needs_call}
        pairs = even_out([*pairs, *anchors], prose, settings.max_call_ratio, dropped)
    return Mined(tuple(pairs), {key: count for key, count in dropped.items() if count})


def evenly(pairs: list[PreferencePair], count: int) -> list[PreferencePair]:
    """At most `count`, spread over the whole list: trees come sorted by kind, and the last kind is no less wanted."""
    return pairs if len(pairs) <= count else [pairs[at * len(pairs) // count] for at in range(count)]


def mine_tree(tree: Tree, settings: PairSettings, dropped: Counter[str]) -> list[PreferencePair]:
    """The pairs of one tree. Of too many: the first of each reason before the second of any, then those at the root."""
    accepted = accepted_nodes(tree)
    pairs = []
    for index, node in enumerate(tree.nodes):
        if node.objection or len(node.children) < 2:
            continue
        good = [child for child in node.children if child in accepted]
        if not good:
            continue
        chosen = pick_chosen(tree, good)
        bad = [child for child in node.children if is_error(tree.nodes[child], tree.nodes[chosen])]
        for rejected in sorted(bad, key=lambda child: (-tree.nodes[child].visits, -tree.nodes[child].prior)):
            pair = make_pair(tree, index, chosen, rejected, accepted, settings)
            if pair.margin < settings.min_margin:
                dropped["min_margin"] += 1
            elif overlap(pair.chosen_ids, pair.rejected_ids) > settings.max_overlap:
                dropped["max_overlap"] += 1
            elif pair.chosen_ids[: len(pair.rejected_ids)] == pair.rejected_ids:
                dropped["rejected is the beginning of chosen"] += 1  # its turn ran out of tokens
            elif pair.rejected_ids[: len(pair.chosen_ids)] == pair.chosen_ids:
                dropped["chosen is the beginning of rejected"] += 1
            else:
                pairs += [pair] * max(1, tree.nodes[rejected].visits)
    dropped["max_per_tree"] += max(0, len(pairs) - settings.max_per_tree)
    seen: Counter[str] = Counter()
    ranks = []
    for pair in pairs:
        ranks.append(seen[pair.reason])
        seen[pair.reason] += 1
    order = sorted(range(len(pairs)), key=lambda at: (ranks[at], at))[: settings.max_per_tree]
    return [pairs[at] for at in sorted(order)]


def anchor(tree: Tree, num_prose_tokens: int) -> PreferencePair | None:
    """The likeliest accepted turn of a tree as a pair without a rejected side; None when there is none."""
    accepted = accepted_nodes(tree)
    first = [child for child in tree.nodes[0].children if child in accepted]
    if not first:
        return None
    path = to_the_end(tree, pick_chosen(tree, first), accepted)
    ids, logprob = side(tree, path, None if tree.needs_call else num_prose_tokens)
    return PreferencePair(
        prompt_ids=tree.prompt_ids,
        chosen_ids=ids,
        rejected_ids=(),
        margin=tree.nodes[path[0]].value,
        reason=ANCHOR,
        sample_id=tree.sample_id,
        chosen_logprob=logprob,
        rejected_logprob=0.0,
        planted=any(tree.nodes[index].planted for index in path),
    )


def pick_chosen(tree: Tree, nodes: Sequence[int]) -> int:
    """Of siblings the likeliest: a sampled one if there is any, but where no call is right one of the reference, as
    nothing verifies what sampled words say."""
    return max(nodes, key=lambda child: (tree.nodes[child].planted != tree.needs_call, tree.nodes[child].prior))


def is_error(node: Node, chosen: Node) -> bool:
    """Whether this sibling of the chosen step is wrong, and drawn by the policy or as good as."""
    log_ratio = sum(node.step.logprobs) - sum(chosen.step.logprobs)
    return bool(node.objection) and (not node.planted or log_ratio >= math.log(LIKELY))


def accepted_nodes(tree: Tree) -> set[int]:
    """Nodes on the way to a completion that passed."""
    accepted: set[int] = set()
    for index, node in enumerate(tree.nodes):
        at = index
        while node.reward == 1.0 and at > 0 and at not in accepted:
            accepted.add(at)
            at = tree.nodes[at].parent
    return accepted


def make_pair(
    tree: Tree, parent: int, chosen: int, rejected: int, accepted: set[int], settings: PairSettings
) -> PreferencePair:
    """The pair of two siblings, each reaching as far as `pairs.extent` says; of prose that is held against a call, or
    the reverse, the beginning. Words that ran out of tokens count whole, and so do those that they are held against:
    such pairs are what teaches replies to end."""
    chosen_path, rejected_path = [chosen], [rejected]
    if settings.extent in ("turn", "chosen_turn"):
        chosen_path = to_the_end(tree, chosen, accepted)
    if settings.extent == "turn":
        rejected_path = to_the_end(tree, rejected, None)
    reason = tree.nodes[rejected].objection
    # Words may stand before a call, so that both begin alike: what counts is what comes where they part.
    alike = num_alike(side(tree, chosen_path, None)[0], side(tree, rejected_path, None)[0])
    chosen_ids, chosen_logprob = side(
        tree, chosen_path, settings.num_prose_tokens if reason == "unneeded_call" else None, alike
    )
    rejected_ids, rejected_logprob = side(
        tree, rejected_path, settings.num_prose_tokens if reason == "no_call" else None, alike
    )
    return PreferencePair(
        prompt_ids=tree.prompt_ids + tree.path_ids(parent),
        chosen_ids=chosen_ids,
        rejected_ids=rejected_ids,
        margin=tree.nodes[chosen].value - tree.nodes[rejected].value,
        reason=reason,
        sample_id=tree.sample_id,
        chosen_logprob=chosen_logprob,
        rejected_logprob=rejected_logprob,
        planted=any(tree.nodes[index].planted for index in chosen_path),
        smoothing=0.0
        if tree.nodes[chosen].planted  # its one visit is ours, and the reference is right
        else smoothing(tree.nodes[chosen].visits, tree.nodes[rejected].visits),
    )


def smoothing(num_chosen: int, num_rejected: int) -> float:
    """1 / (N_w / N_l + 1), at most 1/2: beyond, the pair would teach the reverse."""
    return min(0.5, num_rejected / max(1, num_chosen + num_rejected))


def to_the_end(tree: Tree, index: int, within: set[int] | None) -> list[int]:
    """Nodes from `index` to the end of a turn, sampled ones where there are any, by prior; inside `within`, if
    given."""
    path = [index]
    while tree.nodes[path[-1]].children:
        options = [child for child in tree.nodes[path[-1]].children if within is None or child in within]
        path.append(pick_chosen(tree, options))
    return path


def num_alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def side(tree: Tree, path: list[int], stop: int | None, alike: int = 0) -> tuple[tuple[int, ...], float]:
    """The first `stop` ids along a path of nodes (all, for None), a think part at its beginning and the first `alike`
    ids not counted, and the sum of their log-probs."""
    steps = [tree.nodes[index].step for index in path]
    if stop is not None:
        stop += max(alike, len(steps[0].ids) if steps[0].kind == "think" else 0)
    ids = tuple(token for step in steps for token in step.ids)
    logprobs = tuple(score for step in steps for score in step.logprobs)
    return ids[:stop], sum(logprobs[:stop])


def overlap(first: Sequence[int], second: Sequence[int]) -> float:
    """Jaccard similarity of the token sets."""
    union = set(first) | set(second)
    return len(set(first) & set(second)) / len(union) if union else 1.0


def balance(pairs: list[PreferencePair], max_share: float, dropped: Counter[str]) -> list[PreferencePair]:
    """Keeps of each reason no more pairs than `max_share` of all that there are, though one at least; nothing is
    dropped where there is one reason only.

    Of those that are kept a reason may be more than that share: where nearly all are of one, meeting it would leave
    next to none."""
    counts = Counter(pair.reason for pair in pairs)
    most = max(1, int(max_share * len(pairs)))
    kept = pairs
    for reason, count in counts.items() if len(counts) > 1 else ():
        kept = drop_least(kept, reason, count - most)
    dropped["max_reason_share"] += len(pairs) - len(kept)
    return kept


def even_out(
    pairs: list[PreferencePair], prose: Collection[str], max_ratio: float, dropped: Counter[str]
) -> list[PreferencePair]:
    """Drops errors of calling without need, or of not calling, where with the anchors of their side (the samples in
    `prose`, or the others) they are more than `max_ratio` times the other side; one of them always stays. Else an
    update learns to call always or never, and the next one the reverse. Where one side is missing, nothing is dropped:
    the data call for nothing else."""
    sides: Counter[str] = Counter()
    for pair in pairs:
        if pair.reason in REVERSES or not pair.rejected_ids:
            sides["unneeded_call" if pair.sample_id in prose else "no_call"] += 1
    kept = pairs
    counts = Counter(pair.reason for pair in pairs)
    for reason, reverse in zip(REVERSES, reversed(REVERSES), strict=True):
        excess = math.ceil(sides[reason] - max_ratio * sides[reverse]) if sides[reverse] else 0
        kept = drop_least(kept, reason, min(excess, counts[reason] - 1))
    dropped["max_call_ratio"] += len(pairs) - len(kept)
    return kept


def drop_least(pairs: list[PreferencePair], reason: str, count: int) -> list[PreferencePair]:
    """Without `count` pairs of that reason, if that is above 0 (or without all of them, when there are fewer): planted
    ones go first, then those of the smallest margin."""
    places = [at for at, pair in enumerate(pairs) if pair.reason == reason]
    places.sort(key=lambda at: (not pairs[at].planted, pairs[at].margin))
    gone = set(places[: max(0, count)])
    return [pair for at, pair in enumerate(pairs) if at not in gone]
