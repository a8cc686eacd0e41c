"""The search: its books balance, it goes where it should, and the same seed gives the same trees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from toys import (
    HARD,
    NONE,
    ONE,
    PARIS,
    SAMPLES,
    TWO,
    WORDS,
    MemoryJournal,
    call,
    policy_of,
    scripts,
    text_of,
    weak_of,
    world_of,
)

from iterft.chat import Dialect
from iterft.config import PairSettings, SearchSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.log import Log
from iterft.pairs import mine_pairs
from iterft.rewards.call_match import CallMatch
from iterft.rollout import read_turn
from iterft.search import search
from iterft.search.gumbel import below, gumbel, halving
from iterft.search.mcts import SELECT
from iterft.search.selection import UnderWay, puct, step_entropy, uct
from iterft.search.tree import EXHAUSTED_MASS, has_success, lay, new_tree, settle, unseen_mass
from iterft.types import Node, PartialTurn, PreferencePair, Reward, Sample, Step, Trajectory, Tree, Turn

SETTINGS = SearchSettings(num_simulations=12, num_samples=2)
QUIET = Log(quiet=True)


def grow(
    *samples: Sample,
    dialect: Dialect = HERMES,
    seed: int = 0,
    num_samples: int = 3,
    whole_turns: bool = True,
    **changes: object,
) -> list[Tree]:
    policy, world = policy_of(dialect), world_of(dialect)
    weak = [weak_of(sample, policy, num_samples, dialect) for sample in samples]
    settings = replace(SETTINGS, **changes)
    return search(policy, world, weak, settings, seed, MemoryJournal(), QUIET, whole_turns=whole_turns)


def terminals(tree: Tree) -> list[int]:
    return [index for index, node in enumerate(tree.nodes) if node.reward is not None]


@pytest.mark.parametrize("step", ["turn", "call", "argument"])
@pytest.mark.parametrize("dialect", [HERMES, PYTHONIC], ids=["hermes", "pythonic"])
def test_visits_and_values_of_a_node_are_those_of_its_children(dialect: Dialect, step: str) -> None:
    for tree in grow(*SAMPLES, dialect=dialect, step=step):
        for index, node in enumerate(tree.nodes):
            if node.reward is not None:
                assert not node.children
                assert node.value_sum == node.visits * node.reward
            else:
                assert node.visits == sum(tree.nodes[child].visits for child in node.children) > 0
                assert node.value_sum == sum(tree.nodes[child].value_sum for child in node.children)
            assert 0 <= node.value <= 1
            assert 0 < node.prior <= 1
            assert all(tree.nodes[child].parent == index for child in node.children)


def test_every_completion_is_one_visit_of_the_root() -> None:
    for tree in grow(*SAMPLES):
        planted = any(node.planted for node in tree.nodes) or tree.sample_id == "hard"
        assert tree.nodes[0].visits == 3 + tree.simulations + planted


@pytest.mark.parametrize("num_simulations", [0, 1, 5, 12])
def test_no_more_simulations_than_asked_for(num_simulations: int) -> None:
    for tree in grow(*SAMPLES, num_simulations=num_simulations):
        assert tree.simulations <= num_simulations
        assert tree.simulations == num_simulations or tree.nodes[0].exhausted


def test_terminal_nodes_carry_the_verdict_of_their_turn() -> None:
    world, policy = world_of(), policy_of()
    for sample, tree in zip(SAMPLES, grow(*SAMPLES), strict=True):
        for index in terminals(tree):
            ids = tree.path_ids(index)
            verdict = world.judge(sample, read_turn(policy, HERMES, ids, "stop"))
            assert tree.nodes[index].reward == verdict.value
            assert bool(tree.nodes[index].objection) == (verdict.value < 1)


def test_an_objection_stays_on_the_way_down_and_nothing_below_it_passes() -> None:
    for tree in grow(*SAMPLES):
        for node in tree.nodes[1:]:
            above = tree.nodes[node.parent].objection
            assert not above or node.objection == above
            assert not (node.objection and node.reward)


def test_a_search_that_needs_no_planting_asks_for_no_reference() -> None:
    policy = policy_of(turns={"one": {HERMES.render([PARIS]): 1}})
    (tree,) = search(policy, world_of(), [weak_of(ONE, policy)], SETTINGS, 0, MemoryJournal(), QUIET, whole_turns=True)
    assert has_success(tree) and tree.simulations == 0, "its only turn is known"


def test_the_first_error_is_where_the_objection_begins() -> None:
    (tree,) = grow(ONE, num_simulations=60, c_puct=5.0)
    firsts = {
        text_of(tree.path_ids(index)).removeprefix('<tool_call>\n{"name": '): node.objection
        for index, node in enumerate(tree.nodes)
        if node.objection and not tree.nodes[node.parent].objection
    }
    assert firsts == {
        '"weather", "arguments": {"city": "Paris", "days": 4}': "wrong_value",
        '"weather", "arguments": {"city": "London"': "wrong_value",
        '"book"': "wrong_tool",
        # the first call closes right; a second call is the error, from its name on
        next(text for text in firsts if text.count("<tool_call>") == 1 and "Paris" in text): "extra_call",
        WORDS: "no_call",
    }


def test_select_never_goes_below_an_objection_or_into_what_is_exhausted() -> None:
    def node(parent: int, **changes: object) -> Node:
        return Node(**{"parent": parent, "step": Step("name", (parent + 5,), (-3.0,)), "prior": 0.5, **changes})  # type: ignore[arg-type]

    tree = Tree("x", (1,), [node(-1, visits=9, value_sum=0.1, children=[1, 2, 3]), *(node(0) for _ in range(3))])
    tree.nodes[1].objection, tree.nodes[1].value_sum, tree.nodes[1].visits = "wrong_tool", 9.0, 9
    tree.nodes[2].exhausted, tree.nodes[2].value_sum, tree.nodes[2].visits = True, 9.0, 9
    tree.nodes[3].value_sum, tree.nodes[3].visits = 0.9, 1
    assert puct(tree, replace(SETTINGS, c_puct=0.1), UnderWay(), 0) == 3
    tree.nodes[3].exhausted = True
    assert puct(tree, replace(SETTINGS, c_puct=0.1), UnderWay(), 0) == 0


@pytest.mark.parametrize("c_puct", [0.1, 1.0, 5.0])
def test_select_follows_the_puct_formula(c_puct: float) -> None:
    (tree,) = grow(TWO, num_simulations=0, num_samples=2)
    at = puct(tree, replace(SETTINGS, c_puct=c_puct), UnderWay(), 0)
    expected = 0
    while True:
        node = tree.nodes[expected]
        root = c_puct * node.visits**0.5
        arms = {expected: node.value + root * unseen_mass(tree, expected) / (1 + node.expansions)}
        for index in node.children:
            child = tree.nodes[index]
            if not child.exhausted and not child.objection:
                arms[index] = child.value + root * child.prior / (1 + child.visits)
        best = max(arms, key=lambda index: arms[index])
        if best == expected:
            break
        expected = best
    assert at == expected > 0


def test_the_search_spends_nothing_below_objections() -> None:
    """All that was sampled below a wrong node was sampled from above it."""
    for tree in grow(*SAMPLES, num_simulations=40):
        assert all(node.expansions == 0 for node in tree.nodes if node.objection)
        assert sum(node.expansions for node in tree.nodes) == 3 + tree.simulations


def test_the_reference_is_planted_only_where_no_sampled_turn_has_passed() -> None:
    for sample, tree in zip(SAMPLES, grow(*SAMPLES, num_simulations=0), strict=True):
        policy = policy_of()
        passed = any(
            world_of().judge(sample, read_turn(policy, HERMES, row.ids, "stop")).value == 1
            for row in weak_of(sample, policy).completions
        )
        assert any(node.planted and node.reward == 1.0 for node in tree.nodes) != passed
    (hard,) = grow(HARD)
    assert not has_success(hard)
    (leaf,) = (index for index in terminals(hard) if hard.nodes[index].planted)
    assert hard.nodes[leaf].reward == 1.0
    assert text_of(hard.path_ids(leaf)) == HERMES.render([call("book", city="Oslo", seats=2)])


@pytest.mark.parametrize("dialect", [HERMES, PYTHONIC], ids=["hermes", "pythonic"])
def test_of_several_calls_the_beginning_is_planted_as_an_error_nobody_drew(dialect: Dialect) -> None:
    (tree,) = grow(TWO, dialect=dialect, num_simulations=0, num_samples=1)
    wrong = [node for node in tree.nodes if node.planted and node.reward == 0.0]
    assert [(node.objection, node.visits) for node in wrong] == [("missing_call", 0)]
    right = terminal_path(tree, next(at for at in terminals(tree) if tree.nodes[at].reward == 1.0))
    assert terminal_path(tree, tree.nodes.index(wrong[0]))[:2] == right[:2], "it shares the steps of the first call"


def terminal_path(tree: Tree, at: int) -> list[int]:
    """The nodes from the first step of a turn to node `at`."""
    path = [at]
    while tree.nodes[path[0]].parent > 0:
        path.insert(0, tree.nodes[path[0]].parent)
    return path


def test_without_planting_there_is_nothing_planted() -> None:
    assert not any(node.planted for tree in grow(*SAMPLES, plant=False) for node in tree.nodes)


def test_what_is_sampled_later_is_planted_no_longer() -> None:
    policy, world = policy_of(), world_of()
    tree = new_tree(ONE, policy.render(ONE.prompt))
    ids = policy.encode_turn(HERMES.render([call("weather", city="Paris", days=3)]))
    (scores,) = policy.logprob([tree.prompt_ids], [ids])
    leaf = lay(tree, ONE, 0, ids, scores, "stop", policy, world, "argument", planted=True)
    assert tree.nodes[leaf].planted and not has_success(tree)
    assert lay(tree, ONE, 0, ids, scores, "stop", policy, world, "argument") == leaf
    assert not any(node.planted for node in tree.nodes) and has_success(tree)
    assert (tree.nodes[leaf].visits, tree.nodes[0].expansions) == (2, 1)


def test_equal_steps_are_one_node() -> None:
    for tree in grow(*SAMPLES, num_simulations=40):
        for node in tree.nodes:
            steps = [tree.nodes[child].step.ids for child in node.children]
            assert len(steps) == len(set(steps))


def test_a_turn_cut_off_at_a_boundary_is_not_the_step_that_ends_there() -> None:
    policy, world = policy_of(), world_of()
    whole = policy.encode_turn(HERMES.render([call("weather", city="Paris", days=3)]))
    torn = whole[: text_of(whole).index('"Paris"') + len('"Paris"')]
    for first, second in (((whole, True), (torn, False)), ((torn, False), (whole, True))):
        tree = new_tree(ONE, policy.render(ONE.prompt))
        leaves = {}
        for ids, ended in (first, second):
            (scores,) = policy.logprob([tree.prompt_ids], [ids])
            leaves[ended] = lay(tree, ONE, 0, ids, scores, "stop" if ended else "length", policy, world, "argument")
        assert (tree.nodes[leaves[True]].reward, tree.nodes[leaves[True]].objection) == (1.0, "")
        assert (tree.nodes[leaves[False]].reward, tree.nodes[leaves[False]].objection) == (0.0, "unparsable")


def pairs_of(trees: list[Tree], settings: PairSettings) -> list[PreferencePair]:
    """Without those that are not well-formed, which end where that is seen and not where the turn does."""
    return [pair for pair in mine_pairs(trees, settings).pairs if pair.reason != "unparsable"]


@pytest.mark.parametrize("dialect", [HERMES, PYTHONIC], ids=["hermes", "pythonic"])
def test_a_turn_that_ends_with_its_first_error_teaches_the_same_for_fewer_tokens(dialect: Dialect) -> None:
    whole, refuted = (grow(*SAMPLES, dialect=dialect, whole_turns=whole_turns) for whole_turns in (True, False))
    for extent in ("step", "chosen_turn"):
        settings = PairSettings(extent=extent, max_reason_share=1.0)
        assert pairs_of(whole, settings) == pairs_of(refuted, settings)
    for one, other in zip(whole, refuted, strict=True):
        assert one.nodes[0].visits == other.nodes[0].visits and one.nodes[0].value == other.nodes[0].value
    assert sum(tree.sampled_tokens for tree in refuted) < sum(tree.sampled_tokens for tree in whole)
    wrong = [node for tree in refuted for node in tree.nodes if node.objection]
    assert wrong and all(node.reward == 0.0 or node.children for node in wrong)


def test_a_tree_is_exhausted_once_all_turns_are_known() -> None:
    (tree,) = grow(NONE, num_simulations=200)
    assert tree.nodes[0].exhausted
    assert tree.simulations < 200
    assert {text_of(tree.path_ids(index)) for index in terminals(tree)} == set(scripts(HERMES)["none"])


@pytest.mark.parametrize("leaves_in_flight", [1, 4])
def test_exhausted_is_what_has_ended_or_has_nothing_open_or_unseen_below(leaves_in_flight: int) -> None:
    for tree in grow(*SAMPLES, num_simulations=60, leaves_in_flight=leaves_in_flight):
        for at, node in enumerate(tree.nodes):
            has_ended = node.reward is not None or bool(node.objection)
            has_open = any(not tree.nodes[child].exhausted for child in node.children)
            assert node.exhausted == (has_ended or not (has_open or unseen_mass(tree, at) > EXHAUSTED_MASS))


def test_an_exhausted_node_is_open_again_once_something_open_is_laid_below_it() -> None:
    tree = with_visits((math.log(0.98), 1, 1.0))
    tree.nodes[1].reward = 1.0
    settle(tree, 1)
    assert tree.nodes[0].exhausted
    tree.nodes.append(Node(0, Step("name", (7,), (math.log(0.01),)), 0.01))
    tree.nodes[0].children.append(2)
    settle(tree, 2)
    assert not tree.nodes[0].exhausted and tree.nodes[1].exhausted


def test_a_turn_cut_off_where_a_step_ends_is_not_counted_twice() -> None:
    tree = with_visits((math.log(0.6), 1, 1.0))
    cut_off = Node(0, Step("cut", tree.nodes[1].step.ids, tree.nodes[1].step.logprobs), 0.6)
    tree.nodes.append(cut_off)
    tree.nodes[0].children.append(2)
    assert unseen_mass(tree, 0) == pytest.approx(0.4)


def test_the_same_seed_gives_the_same_trees_and_another_gives_others() -> None:
    assert grow(*SAMPLES, seed=3) == grow(*SAMPLES, seed=3)
    assert grow(*SAMPLES, seed=3) != grow(*SAMPLES, seed=4)


def test_one_tree_at_a_time_gives_what_all_together_give() -> None:
    alone = [tree for sample in SAMPLES for tree in grow(sample)]
    assert alone == grow(*SAMPLES)


def test_trees_in_the_journal_are_taken_from_there() -> None:
    policy, world = policy_of(), world_of()
    weak = [weak_of(sample, policy) for sample in SAMPLES]
    journal = MemoryJournal()
    trees = search(policy, world, weak, SETTINGS, 0, journal, QUIET, whole_turns=False)
    assert [tree.sample_id for tree in trees] == journal.appended == [sample.id for sample in SAMPLES]
    resumed = MemoryJournal(trees[2], trees[0])
    again = search(policy, world, weak, SETTINGS, 0, resumed, QUIET, whole_turns=False)
    assert again == trees
    assert again[2] is trees[2] and again[0] is trees[0]
    assert resumed.appended == ["two", "hard"]


def test_what_was_sampled_is_what_is_stored() -> None:
    """Every path that nothing was planted in is a turn of the script, stop token included, with the script's
    log-probs."""
    policy = policy_of()
    for tree in grow(*SAMPLES):
        for index in terminals(tree):
            ids = tree.path_ids(index)
            assert ids[-1] == 0
            (scores,) = policy.logprob([tree.prompt_ids], [ids])
            stored: list[float] = []
            at, is_planted = index, False
            while at > 0:
                stored = [*tree.nodes[at].step.logprobs, *stored]
                is_planted |= tree.nodes[at].planted
                at = tree.nodes[at].parent
            assert stored == pytest.approx(scores)
            if not is_planted:
                assert text_of(ids) in scripts(HERMES)[tree.sample_id]


def test_more_simulations_find_the_right_turn_that_few_miss() -> None:
    def found(num_simulations: int) -> int:
        return sum(
            has_success(grow(TWO, seed=seed, num_samples=1, num_simulations=num_simulations)[0]) for seed in range(10)
        )

    assert found(16) > found(1)


def with_visits(*arms: tuple[float, int, float]) -> Tree:
    """A root with a child per (log-prob, visits, sum of rewards), with less than the exhausted mass unseen."""
    nodes = [Node(-1, Step("root", (), ()), 1.0, visits=sum(arm[1] for arm in arms), expansions=9)]
    for at, (logprob, visits, value_sum) in enumerate(arms, 1):
        nodes.append(Node(0, Step("name", (at,), (logprob,)), math.exp(logprob), visits, value_sum))
        nodes[0].children.append(at)
    return Tree("x", (1,), nodes)


@pytest.mark.parametrize("kind", ["puct", "uct", "gumbel"])
def test_what_is_under_way_makes_other_leaves_more_attractive(kind: str) -> None:
    tree = with_visits((math.log(0.5), 2, 1.0), (math.log(0.499), 2, 1.0))
    settings, under_way = replace(SETTINGS, kind=kind, num_samples=1), UnderWay()
    chosen = []
    for _ in range(6):
        chosen.append(SELECT[kind](tree, settings, under_way, 0))
        under_way.add(tree, chosen[-1], 1)
    assert {1, 2} <= set(chosen)
    assert tree == with_visits((math.log(0.5), 2, 1.0), (math.log(0.499), 2, 1.0)), "the tree itself is not touched"
    assert under_way.below[0] == 6 and sum(under_way.at.values()) == 6


def test_uct_follows_its_formula() -> None:
    tree = with_visits((-1.0, 3, 1.0), (-1.0, 2, 1.2), (-1.2, 4, 2.0))
    scores = {at: node.value + math.sqrt(math.log(9) / node.visits) for at, node in enumerate(tree.nodes) if at}
    best = max(scores, key=lambda at: scores[at])
    assert uct(tree, SETTINGS, UnderWay(), 0) == best, "and then there, as nothing has been drawn below it"


@pytest.mark.parametrize(("arms", "budget"), [(1, 3), (2, 8), (4, 8), (4, 32), (5, 16), (16, 64)])
def test_halving_gives_all_that_remain_the_same_and_the_later_rounds_more_each(arms: int, budget: int) -> None:
    schedule = halving(arms, budget)
    assert len(schedule) == budget and schedule == sorted(schedule)
    counts = [schedule.count(level) for level in range(schedule[-1])]
    assert counts[:1] == [arms] and counts == sorted(counts, reverse=True), "never more arms than before"


def test_halving_of_four_arms_is_that_of_the_paper() -> None:
    assert halving(4, 8) == [0, 0, 0, 0, 1, 1, 2, 2]


def test_gumbel_takes_an_arm_that_nobody_has_tried_for_as_good_as_its_node() -> None:
    def node(parent: int, **changes: Any) -> Node:
        return Node(parent=parent, step=Step("name", (parent + 5,), (-1.0,)), prior=0.4, **changes)

    root = node(-1, visits=8, value_sum=6.0, expansions=8, children=[1, 2])
    tree = Tree("x", (1,), [root, node(0, visits=2), node(0, planted=True)])
    assert below(tree, 0, UnderWay()) == 2
    tree.nodes[0].value_sum = tree.nodes[1].value_sum = 2.0
    assert below(tree, 0, UnderWay()) == 1


def test_gumbel_gives_the_best_arms_of_the_first_round_all_of_the_second() -> None:
    tree = with_visits(*((math.log(0.24), 0, 0.0) for _ in range(4)))
    settings = replace(SETTINGS, kind="gumbel", num_simulations=16, num_samples=1)
    for simulation in range(16):
        at = gumbel(tree, settings, UnderWay(), 3)
        assert at > 0, "nothing is left to be drawn at the root"
        tree.nodes[at].expansions += 1
        tree.simulations += 1
        reward = 1.0 if at in (1, 2) else 0.0
        for node in (0, at):
            tree.nodes[node].visits += 1
            tree.nodes[node].value_sum += reward
        if simulation == 7:
            assert [tree.nodes[arm].expansions for arm in range(1, 5)] == [2, 2, 2, 2]
    assert sorted(tree.nodes[arm].expansions for arm in (3, 4)) == [2, 2]
    assert sorted(tree.nodes[arm].expansions for arm in (1, 2)) == [6, 6]


def test_the_entropy_of_a_node_is_that_of_its_calls_as_drawn() -> None:
    tree = with_visits((-2.0, 3, 0.0), (-1.0, 1, 0.0), (-9.0, 5, 0.0), (-7.0, 2, 0.0))
    tree.nodes[3].planted = True
    tree.nodes[4].step = Step("prose", (9,), (-7.0,))
    assert step_entropy(tree, 0) == pytest.approx((3 * 2.0 + 1 * 1.0) / 4)
    assert step_entropy(tree, 1) == 0.0


def test_with_entropy_weighed_the_uncertain_node_is_drawn_from() -> None:
    tree = with_visits((-0.5, 4, 2.0), (-0.93, 4, 2.0))
    tree.nodes[1].expansions = tree.nodes[2].expansions = 1
    for parent, logprob in ((1, -0.05), (2, -2.0)):
        tree.nodes[parent].children.append(len(tree.nodes))
        child = Node(parent, Step("argument", (9,), (logprob,)), math.exp(logprob), 4, 2.0, exhausted=True)
        tree.nodes.append(child)
    chosen = [puct(tree, replace(SETTINGS, entropy_weight=weight), UnderWay(), 0) for weight in (0.0, 5.0)]
    assert chosen == [1, 2]


@pytest.mark.parametrize("kind", SELECT)
def test_a_wave_of_several_leaves_asks_for_no_more_than_there_is_to_spend(kind: str) -> None:
    for tree in grow(*SAMPLES, kind=kind, leaves_in_flight=3, num_simulations=7):
        assert tree.simulations == 7 or tree.nodes[0].exhausted
        assert sum(node.expansions for node in tree.nodes) == 3 + tree.simulations


def test_equal_turns_are_verified_once() -> None:
    judged: list[tuple[str, Turn]] = []

    class Counting:
        def __call__(self, trajectory: Trajectory) -> Reward:
            judged.append((trajectory.sample.id, trajectory.turns[-1]))
            return CallMatch()(trajectory)

        def explain(self, trajectory: Trajectory) -> str:
            return CallMatch().explain(trajectory)

        def objection(self, sample: Sample, partial: PartialTurn) -> str:
            return CallMatch().objection(sample, partial)

    policy = policy_of()
    weak = [weak_of(sample, policy) for sample in SAMPLES]
    world = replace(world_of(), verifier=Counting())
    trees = search(
        policy, world, weak, replace(SETTINGS, num_simulations=40), 0, MemoryJournal(), QUIET, whole_turns=True
    )
    leaves = sum(node.reward is not None for tree in trees for node in tree.nodes)
    assert len(judged) == leaves < sum(tree.simulations for tree in trees)


def test_a_search_at_its_limit_ends_with_what_it_has() -> None:
    free = grow(*SAMPLES, num_simulations=40)
    capped = grow(*SAMPLES, num_simulations=40, max_tokens=600)
    spent = [sum(tree.sampled_tokens for tree in trees) for trees in (capped, free)]
    assert 600 <= spent[0] < spent[1]
    assert mine_pairs(capped, PairSettings()).pairs
    assert all(tree.nodes[0].visits >= 3 for tree in capped), "turns at hand are laid whatever the limit"
    late = grow(*SAMPLES, num_simulations=40, max_seconds=1e-9)
    assert [tree.simulations for tree in late] == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["puct", "uct", "gumbel"])
def test_where_nothing_is_left_to_draw_the_search_goes_down(kind: str) -> None:
    """One first step has all the probability, and as many visits as its parent was drawn from."""
    tree = with_visits((math.log(0.99), 9, 4.0))
    assert SELECT[kind](tree, replace(SETTINGS, kind=kind), UnderWay(), 0) == 1


@pytest.mark.parametrize("kind", ["puct", "uct", "gumbel"])
def test_what_is_known_well_is_not_drawn_again_however_good_it_is(kind: str) -> None:
    """The likely first step is exhausted and always right; only below the other, not right so far, is anything new."""
    tree = with_visits((math.log(0.9), 15, 15.0), (math.log(0.1), 5, 0.0))
    tree.nodes[0].value_sum, tree.nodes[0].expansions, tree.nodes[1].exhausted = 15.0, 20, True
    assert SELECT[kind](tree, replace(SETTINGS, kind=kind), UnderWay(), 0) == 2
