"""Many trees that grow side by side over structural steps.

Each tree sends out a wave of leaves, chosen from its own state alone, gets their continuations to the end of the turn,
lays them in the order in which they were chosen and backs their verdicts up; then the next wave. Trees wait for nothing
but their own wave, and the order in which rows finish changes nothing (but which trees get what is left of a limit in
tokens or seconds). Where to sample next is `selection`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from iterft.config import SearchSettings
from iterft.log import Log
from iterft.protocols import Grader, Policy, TreeJournal
from iterft.rollout import World, read_text, seed_of
from iterft.search.gumbel import gumbel
from iterft.search.selection import Select, UnderWay, independent, puct, uct
from iterft.search.tree import has_success, lay, new_tree
from iterft.types import Checked, Completion, FinishReason, Request, Sample, Tree

SELECT: Mapping[str, Select] = {"puct": puct, "uct": uct, "gumbel": gumbel, "independent": independent}


def search(
    policy: Policy,
    world: World,
    weak: Sequence[Checked],
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
    budget = Budget(settings.max_tokens, settings.max_seconds, time.monotonic())
    with log.progress("search", len(weak)) as advance:
        for start in range(0, len(weak), settings.trees_in_flight):
            group = weak[start : start + settings.trees_in_flight]
            if any(item.sample.id not in finished for item in group):
                policy.forget()
                for tree in grow(ground, group, seed, budget, advance):
                    if tree.sample_id not in finished:
                        journal.append(tree)
                        finished[tree.sample_id] = tree
            else:
                budget.tokens += sum(finished[item.sample.id].sampled_tokens for item in group)
                advance(len(group))
    if budget.num_cut:
        log.say(
            f"search: at its limit after {budget.tokens:,} sampled tokens, {budget.num_cut} trees were cut short; what "
            "was found is used"
        )
    return [finished[item.sample.id] for item in weak]


def lay_out(policy: Policy, world: World, checked: Sequence[Checked], settings: SearchSettings) -> list[Tree]:
    """One tree per sample, in order, of the turns that the deficiency check has sampled and, where none of them passed,
    of the reference turn, if references may be planted; nothing is searched."""
    ground, trees = Ground(policy, world, settings, whole_turns=True, grader=None), new_trees(policy, checked)
    sow(ground, checked, trees)
    if settings.plant:
        failed = [place for place, tree in enumerate(trees) if not has_success(tree)]
        plant(ground, [checked[place] for place in failed], [trees[place] for place in failed])
    return trees


@dataclass(frozen=True)
class Ground:
    """What all trees of a search grow on."""

    policy: Policy
    world: World
    settings: SearchSettings
    whole_turns: bool
    grader: Grader | None


@dataclass
class Budget:
    """What a search may spend, 0 is no limit, the sampled tokens it has spent, and the trees that would have gone on; a
    resumed search has its time anew."""

    max_tokens: int
    max_seconds: float
    started: float
    tokens: int = 0
    num_cut: int = 0

    @property
    def is_spent(self) -> bool:
        is_late = 0 < self.max_seconds <= time.monotonic() - self.started
        return is_late or 0 < self.max_tokens <= self.tokens


@dataclass(frozen=True)
class Wave:
    """Leaves of one tree that are under way: the node of each request, in the order they are to be laid, and what has
    come back."""

    sample: Sample
    tree: Tree
    leaves: Mapping[Request, int]
    found: dict[Request, list[Completion]] = field(default_factory=dict)


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


def grow(
    ground: Ground, group: Sequence[Checked], seed: int, budget: Budget, advance: Callable[[int], None]
) -> list[Tree]:
    """Grows the trees of `group` side by side until each has its simulations, is exhausted, or the budget is spent.
    `advance(1)` is told of each that is done."""
    policy, settings = ground.policy, ground.settings
    trees = new_trees(policy, group)
    sow(ground, group, trees)
    if settings.plant:
        plant(ground, group, trees)
    requests: deque[Request] = deque()
    waves: dict[Request, Wave] = {}

    def send(sample: Sample, tree: Tree) -> None:
        leaves = choose_leaves(ground, sample, tree, seed)
        if leaves and budget.is_spent:
            budget.num_cut += 1
            leaves = {}
        wave = Wave(sample, tree, leaves)
        waves.update(dict.fromkeys(leaves, wave))
        requests.extend(leaves)
        if not leaves:
            advance(1)

    for item, tree in zip(group, trees, strict=True):
        send(item.sample, tree)
    for request, completions in policy.stream(requests, settings.temperature):
        wave = waves.pop(request)
        wave.found[request] = completions
        budget.tokens += sum(len(row.ids) for row in completions)
        if len(wave.found) == len(wave.leaves):
            lay_wave(ground, wave)
            send(wave.sample, wave.tree)
    return trees


def new_trees(policy: Policy, checked: Sequence[Checked]) -> list[Tree]:
    return [new_tree(item.sample, policy.render(item.sample.prompt)) for item in checked]


def choose_leaves(ground: Ground, sample: Sample, tree: Tree, seed: int) -> dict[Request, int]:
    """The next wave of a tree: requests and the nodes they go on from; none when the tree is done."""
    settings, world, policy = ground.settings, ground.world, ground.policy
    under_way = UnderWay()
    leaves: dict[Request, int] = {}
    planned = tree.simulations
    while planned < settings.num_simulations and len(leaves) < settings.leaves_in_flight:
        if tree.nodes[0].exhausted:
            break
        tree_seed = seed_of(seed, sample.id, planned)
        at = SELECT[settings.kind](tree, settings, under_way, seed_of(seed, sample.id))
        written = tree.path_ids(at)
        refute = None if ground.whole_turns else refuter(world, policy, sample, written)
        count = min(settings.num_samples, settings.num_simulations - planned)
        leaves[Request(tree.prompt_ids + written, count, tree_seed, refute)] = at
        under_way.add(tree, at, count)
        planned += count
    return leaves


def refuter(world: World, policy: Policy, sample: Sample, written: tuple[int, ...]) -> Callable[[Sequence[int]], bool]:
    """Whether the ids that follow `written` settle that the turn cannot pass."""
    return lambda ids: world.refutes(policy, sample, (*written, *ids))


def lay_wave(ground: Ground, wave: Wave) -> None:
    """Lays what has come back, in the order in which it was asked for."""
    shoots = []
    for request, at in wave.leaves.items():
        rows = wave.found[request]
        shoots += [Shoot(wave.sample, wave.tree, at, row.ids, row.logprobs, row.finish_reason) for row in rows]
    wave.tree.sampled_tokens += sum(len(shoot.ids) for shoot in shoots)
    wave.tree.simulations += len(shoots)
    lay_all(ground, shoots)


def sow(ground: Ground, group: Sequence[Checked], trees: Sequence[Tree]) -> None:
    """Lays the turns that the deficiency check has sampled."""
    lay_all(
        ground,
        [
            Shoot(item.sample, tree, 0, row.ids, row.logprobs, row.finish_reason)
            for item, tree in zip(group, trees, strict=True)
            for row in item.completions
        ],
    )


def plant(ground: Ground, group: Sequence[Checked], trees: Sequence[Tree]) -> None:
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
