"""Pairs part at the first error, lead to acceptance on one side only, and are made of the ids of the tree."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from toys import NONE, ONE, SAMPLES, MemoryJournal, policy_of, text_of, weak_of, world_of

from iterft.chat import parse
from iterft.config import PairSettings, SearchSettings
from iterft.dialects.hermes import HERMES
from iterft.log import Log
from iterft.pairs import balance, even_out, mine_pairs, overlap
from iterft.rollout import reference_calls, reference_text
from iterft.search import lay_out, search
from iterft.types import Checked, Completion, Node, PreferencePair, Sample, Step, Tree

LOOSE = PairSettings(
    extent="step",
    min_margin=-1.0,
    max_overlap=1.0,
    max_per_tree=100,
    max_reason_share=1.0,
    num_prose_tokens=1000,
    anchors=False,
)


def trees_of(*samples: Sample) -> list[Tree]:
    policy = policy_of()
    weak = [weak_of(sample, policy) for sample in samples]
    settings = SearchSettings(num_simulations=40)
    return search(policy, world_of(), weak, settings, 0, MemoryJournal(), Log(quiet=True), whole_turns=True)


def pair_of(reason: str, margin: float, planted: bool = False) -> PreferencePair:
    return PreferencePair((1,), (2,), (3,), margin, reason, "x", -1.0, -1.0, planted)


def node(parent: int, *ids: int, logprob: float = -0.5, **changes: object) -> Node:
    return Node(**{"parent": parent, "step": Step("name", ids, (logprob,) * len(ids)), "prior": 0.5, **changes})  # type: ignore[arg-type]


def tree_of(*nodes: Node) -> Tree:
    """A tree of a root and `nodes`, numbered from 1; children, visits and values follow from parents and rewards."""
    needs_call = all(child.objection != "unneeded_call" for child in nodes)
    tree = Tree("x", (90, 91), [node(-1), *nodes], needs_call=needs_call)
    for index, child in enumerate(tree.nodes[1:], start=1):
        tree.nodes[child.parent].children.append(index)
        at = index
        while child.reward is not None and at >= 0:
            tree.nodes[at].visits += 1
            tree.nodes[at].value_sum += child.reward
            at = tree.nodes[at].parent
    return tree


def fork() -> Tree:
    """Right: 1 2 3 4. Wrong: 1 2 5 6, where 5 is the error."""
    return tree_of(
        node(0, 1, 2),
        node(1, 3),
        node(2, 4, reward=1.0),
        node(1, 5, objection="wrong_value"),
        node(4, 6, objection="wrong_value", reward=0.0),
    )


def test_a_pair_parts_at_the_first_error() -> None:
    (pair,) = mine_pairs([fork()], LOOSE).pairs
    assert pair == PreferencePair((90, 91, 1, 2), (3,), (5,), 1.0, "wrong_value", "x", -0.5, -0.5, False, 0.5)


@pytest.mark.parametrize(
    ("extent", "chosen", "rejected"),
    [("step", (3,), (5,)), ("turn", (3, 4), (5, 6)), ("chosen_turn", (3, 4), (5,))],
)
def test_the_extent_says_how_far_the_sides_reach(
    extent: str, chosen: tuple[int, ...], rejected: tuple[int, ...]
) -> None:
    (pair,) = mine_pairs([fork()], replace(LOOSE, extent=extent)).pairs
    assert (pair.chosen_ids, pair.rejected_ids) == (chosen, rejected)
    assert (pair.chosen_logprob, pair.rejected_logprob) == (-0.5 * len(chosen), -0.5 * len(rejected))


@pytest.mark.parametrize("reason", ["unneeded_call", "no_call", "wrong_value"])
def test_of_a_side_in_plain_words_only_the_beginning_counts(reason: str) -> None:
    """Where a call is unneeded the chosen side is prose, where none was made the rejected one."""
    right = node(0, 1, 2, 3, 4, 5, 6, reward=1.0)
    wrong = node(0, 7, 8, 9, 10, 11, objection=reason, reward=0.0)
    (pair,) = mine_pairs([tree_of(right, wrong)], replace(LOOSE, num_prose_tokens=4)).pairs
    num_chosen, num_rejected = (4 if reason == "unneeded_call" else 6), (4 if reason == "no_call" else 5)
    assert pair.chosen_ids == right.step.ids[:num_chosen]
    assert pair.rejected_ids == wrong.step.ids[:num_rejected]
    assert (pair.chosen_logprob, pair.rejected_logprob) == (-0.5 * num_chosen, -0.5 * num_rejected)


def test_a_whole_chosen_turn_is_one_that_was_accepted() -> None:
    tree = tree_of(
        node(0, 1),
        node(1, 2, reward=0.0, objection="wrong_value", prior=0.9),
        node(1, 3, reward=1.0, prior=0.1),
        node(0, 4, objection="wrong_tool", reward=0.0),
    )
    pairs = mine_pairs([tree], replace(LOOSE, extent="turn")).pairs
    assert [(pair.chosen_ids, pair.rejected_ids) for pair in pairs] == [((1, 3), (4,)), ((3,), (2,))]


def test_a_compatible_sibling_is_never_rejected_however_badly_it_fared() -> None:
    tree = tree_of(node(0, 1, reward=1.0), node(0, 2), node(2, 3, reward=0.0, objection="wrong_value"))
    assert mine_pairs([tree], LOOSE).pairs == ()


def test_a_compatible_sibling_that_never_led_to_acceptance_is_not_chosen() -> None:
    tree = tree_of(
        node(0, 1), node(1, 2, reward=0.0, objection="wrong_value"), node(0, 3, reward=0.0, objection="wrong_tool")
    )
    assert mine_pairs([tree], LOOSE).pairs == ()


def test_there_are_no_pairs_below_the_first_error() -> None:
    tree = tree_of(
        node(0, 1, objection="wrong_tool"),
        node(1, 2, objection="wrong_tool", reward=0.0),
        node(1, 3, objection="wrong_tool", reward=0.0),
        node(0, 4, reward=1.0),
    )
    assert {pair.rejected_ids for pair in mine_pairs([tree], LOOSE).pairs} == {(1,)}


def test_a_sampled_side_is_chosen_before_a_planted_one() -> None:
    wrong = node(0, 1, objection="wrong_tool", reward=0.0)
    planted = node(0, 2, reward=1.0, planted=True, prior=0.9)
    sampled = node(0, 3, reward=1.0, prior=0.1)
    (pair,) = mine_pairs([tree_of(wrong, planted, sampled)], LOOSE).pairs
    assert (pair.chosen_ids, pair.planted) == ((3,), False)
    (pair,) = mine_pairs([tree_of(replace(wrong, visits=0), planted)], LOOSE).pairs
    assert (pair.chosen_ids, pair.planted) == ((2,), True)


def test_of_words_those_of_the_reference_are_chosen_as_nothing_verifies_what_sampled_ones_say() -> None:
    tree = tree_of(
        node(0, 1, planted=True),
        node(1, 2, reward=1.0, prior=0.1, planted=True),  # What | is the part?
        node(1, 3, reward=1.0, prior=0.9),  # What | is the quantity?
        node(0, 4, reward=0.0, objection="unneeded_call"),
    )
    settings = replace(LOOSE, extent="chosen_turn", anchors=True, num_prose_tokens=2)
    pair, anchor = mine_pairs([tree], settings).pairs
    assert pair.chosen_ids == anchor.chosen_ids == (1, 2)


def test_a_sampled_end_is_chosen_before_a_planted_one_however_likely() -> None:
    tree = tree_of(
        node(0, 1),
        node(1, 2, reward=1.0, prior=0.9, planted=True),
        node(1, 3, reward=1.0, prior=0.1),
        node(0, 4, reward=0.0, objection="wrong_tool"),
    )
    (pair,) = mine_pairs([tree], replace(LOOSE, extent="chosen_turn")).pairs
    assert (pair.chosen_ids, pair.planted) == ((1, 3), False)
    tree.nodes[3].reward = 0.0
    (pair,) = mine_pairs([tree], replace(LOOSE, extent="chosen_turn")).pairs
    assert (pair.chosen_ids, pair.planted) == ((1, 2), True)


def test_among_sampled_sides_the_likeliest_is_chosen() -> None:
    tree = tree_of(
        node(0, 1, reward=1.0, prior=0.2),
        node(0, 2, reward=1.0, prior=0.4),
        node(0, 3, reward=0.0, objection="no_call"),
    )
    (pair,) = mine_pairs([tree], LOOSE).pairs
    assert pair.chosen_ids == (2,)


@pytest.mark.parametrize(("logprob", "rejected"), [(-7.2, True), (-7.4, False)])
def test_a_planted_error_is_rejected_only_where_the_policy_is_likely_to_make_it(logprob: float, rejected: bool) -> None:
    wrong = node(0, 2, logprob=logprob, reward=0.0, objection="missing_call", planted=True)
    pairs = mine_pairs([tree_of(node(0, 1, logprob=-5.0, reward=1.0), wrong)], LOOSE).pairs
    assert [pair.rejected_ids for pair in pairs] == ([(2,)] if rejected else []), "a tenth as likely as the chosen one"


def test_of_a_tree_every_reason_comes_before_the_second_pair_of_any() -> None:
    tree = tree_of(
        node(0, 1),
        node(0, 5, reward=0.0, objection="wrong_value"),
        node(1, 2),
        node(1, 6, reward=0.0, objection="wrong_value"),
        node(3, 3, reward=1.0),
        node(3, 7, reward=0.0, objection="missing_call"),
    )
    mined = mine_pairs([tree], replace(LOOSE, max_per_tree=2))
    assert [pair.reason for pair in mined.pairs] == ["wrong_value", "missing_call"]
    assert mined.dropped == {"max_per_tree": 1}


def test_a_pair_counts_as_often_as_its_error_was_drawn() -> None:
    tree = tree_of(node(0, 1, reward=1.0), node(0, 2, reward=0.0, objection="unneeded_call"))
    tree.nodes[2].visits = 3
    assert [pair.rejected_ids for pair in mine_pairs([tree], LOOSE).pairs] == [(2,)] * 3


def test_the_anchor_is_the_likeliest_accepted_turn_as_a_whole() -> None:
    tree = fork()
    *_, anchor = mine_pairs([tree], replace(LOOSE, anchors=True)).pairs
    assert anchor == PreferencePair((90, 91), (1, 2, 3, 4), (), 0.5, "anchor", "x", -2.0, 0.0)
    assert len(mine_pairs([tree, tree], replace(LOOSE, anchors=True)).pairs) == 4
    right = tree_of(node(0, 1, reward=1.0, prior=0.2), node(0, 2, reward=1.0, prior=0.3))
    *_, anchor = mine_pairs([tree, right], replace(LOOSE, anchors=True)).pairs
    assert anchor.chosen_ids == (2,), "a tree without errors has one too"


def test_the_anchor_of_prose_is_its_beginning() -> None:
    tree = tree_of(node(0, 1, 2, 3, 4, reward=1.0), node(0, 5, reward=0.0, objection="unneeded_call"))
    *_, anchor = mine_pairs([tree], replace(LOOSE, anchors=True, num_prose_tokens=3)).pairs
    assert (anchor.chosen_ids, anchor.chosen_logprob) == ((1, 2, 3), -1.5)


def test_a_think_part_before_prose_is_kept_whole() -> None:
    thought = node(0, 7, 8, 9, 10)
    thought.step = replace(thought.step, kind="think")
    tree = tree_of(thought, node(1, 1, 2, 3, 4, reward=1.0), node(0, 5, reward=0.0, objection="unneeded_call"))
    pair, anchor = mine_pairs([tree], replace(LOOSE, anchors=True, num_prose_tokens=3, extent="turn")).pairs
    assert pair.chosen_ids == anchor.chosen_ids == (7, 8, 9, 10, 1, 2, 3)


def test_a_mastered_sample_is_held_by_an_anchor() -> None:
    policy = policy_of()
    mastered = [weak_of(NONE, policy, 12), weak_of(ONE, policy, 12)]
    mastered = [replace(item, completions=passing(item)) for item in mastered]
    trees = lay_out(policy, world_of(), mastered, SearchSettings())
    assert [tree.simulations for tree in trees] == [0, 0]
    pair, *anchors = mine_pairs([fork(), *trees], replace(LOOSE, anchors=True, num_prose_tokens=3)).pairs
    assert pair.reason == "wrong_value"
    of_fork, of_none, of_one = anchors
    assert of_fork.sample_id == "x"
    assert (of_none.sample_id, text_of(of_none.chosen_ids)) == ("none", "I c"), "of words, the beginning"
    assert (of_one.sample_id, text_of(of_one.chosen_ids)) == ("one", HERMES.render(reference_calls(ONE)))
    assert of_one.prompt_ids == policy.render(ONE.prompt)
    assert of_one.chosen_logprob == pytest.approx(sum(mastered[1].completions[0].logprobs))


def passing(item: Checked) -> tuple[Completion, ...]:
    """Its turns that are right."""
    right = reference_text(HERMES, item.sample)
    return tuple(turn for turn in item.completions if text_of(turn.ids) == right)


def test_anchors_alone_are_nothing_to_learn_from() -> None:
    assert mine_pairs([tree_of(node(0, 1, reward=1.0))], replace(LOOSE, anchors=True)).pairs == ()


def test_an_unfinished_turn_is_not_rejected_for_being_the_beginning_of_the_right_one() -> None:
    tree = tree_of(node(0, 1, 2, reward=1.0), node(0, 1, reward=0.0, objection="unparsable"))
    mined = mine_pairs([tree], LOOSE)
    assert (mined.pairs, sum(mined.dropped.values())) == ((), 1)


def test_words_that_ran_out_of_tokens_and_those_that_ended_count_whole() -> None:
    """Without such pairs replies do not end: docs/results.md."""
    opening = node(0, 1)
    opening.step = replace(opening.step, kind="prose")
    tree = tree_of(
        opening,
        node(1, 2, 3, 4, reward=1.0),
        node(1, 5, 6, 7, 8, reward=0.0, objection="unparsable"),
        node(0, 9, reward=0.0, objection="unneeded_call"),
    )
    pairs = mine_pairs([tree], replace(LOOSE, extent="chosen_turn", num_prose_tokens=2)).pairs
    assert {pair.rejected_ids: pair.chosen_ids for pair in pairs} == {(5, 6, 7, 8): (2, 3, 4), (9,): (1, 2)}


def test_what_is_dropped_is_counted() -> None:
    wrongs = [node(0, 10 + number, reward=0.0, objection="wrong_tool") for number in range(5)]
    tree = tree_of(node(0, 1, reward=1.0), *wrongs)
    assert len(mine_pairs([tree], LOOSE).pairs) == 5
    mined = mine_pairs([tree], replace(LOOSE, max_per_tree=2))
    assert (len(mined.pairs), mined.dropped) == (2, {"max_per_tree": 3})
    mined = mine_pairs([tree, tree], replace(LOOSE, max_pairs=7))
    assert (len(mined.pairs), mined.dropped) == (7, {"max_pairs": 3})
    mined = mine_pairs([fork()], replace(LOOSE, min_margin=1.0))
    assert (len(mined.pairs), mined.dropped) == (1, {})
    tree = tree_of(node(0, 1, 2, 3, reward=1.0), node(0, 3, 2, 1, reward=0.0, objection="wrong_value"))
    assert mine_pairs([tree], replace(LOOSE, max_overlap=0.9)).dropped == {"max_overlap": 1}
    mixed = tree_of(
        node(0, 1),
        node(1, 2, reward=1.0),
        node(1, 3, reward=0.0, objection="wrong_value"),
        node(0, 4, reward=0.0, objection="no_call"),
    )
    mined = mine_pairs([mixed], replace(LOOSE, min_margin=0.6))
    assert ([pair.margin for pair in mined.pairs], mined.dropped) == ([1.0], {"min_margin": 1})


def test_the_limit_of_all_pairs_is_met_all_over_the_trees() -> None:
    """They come sorted by what is needed: those that need a call first."""
    trees = [replace(fork(), sample_id=str(number)) for number in range(10)]
    mined = mine_pairs(trees, replace(LOOSE, max_pairs=5))
    assert [pair.sample_id for pair in mined.pairs] == ["0", "2", "4", "6", "8"] and mined.dropped == {"max_pairs": 5}


def test_no_reason_makes_up_more_than_its_share() -> None:
    dropped: Counter[str] = Counter()
    many = [pair_of("a", margin=number / 10, planted=number == 9) for number in range(10)]
    pairs = [*many, pair_of("b", 0.5), pair_of("c", 0.5), pair_of("c", 0.4)]
    kept = balance(pairs, 0.5, dropped)
    assert [pair.reason for pair in kept].count("a") == 6
    assert sorted(pair.margin for pair in kept if pair.reason == "a")[0] == 0.3, "planted ones go first"
    assert kept == [pair for pair in pairs if pair in kept], "the order stays"
    assert dropped == {"max_reason_share": 4}


def test_no_reason_makes_up_more_than_its_share_where_several_have_to_give() -> None:
    pairs = [
        pair_of(reason, 0.5) for reason, count in {"a": 40, "b": 40, "c": 10, "d": 10}.items() for _ in range(count)
    ]
    counts = Counter(pair.reason for pair in balance(pairs, 0.3, Counter()))
    assert counts == {"a": 30, "b": 30, "c": 10, "d": 10}


def test_a_rare_reason_costs_few_pairs_and_a_stricter_share_never_keeps_more() -> None:
    def kept(share: float, **counts: int) -> int:
        pairs = [pair_of(reason, 0.5) for reason, count in counts.items() for _ in range(count)]
        return len(balance(pairs, share, Counter()))

    assert kept(0.5, a=100) == 100
    assert (kept(0.5, a=100, b=1), kept(0.5, a=100, b=1, c=1)) == (51, 53)
    for counts in ({"a": 100, "b": 30}, {"a": 100, "b": 1, "c": 1}, {"a": 9, "b": 1}):
        numbers = [kept(share / 20, **counts) for share in range(1, 21)]
        assert numbers == sorted(numbers) and numbers[-1] == sum(counts.values())


def test_a_pair_that_counts_twice_is_balanced_as_two() -> None:
    pairs = [*[pair_of("a", 0.5)] * 10, pair_of("b", 0.5), pair_of("b", 0.5), pair_of("c", 0.4)]
    assert Counter(pair.reason for pair in balance(pairs, 0.5, Counter())) == {"a": 6, "b": 2, "c": 1}


@pytest.mark.parametrize(
    ("unneeded", "not_made", "prose_anchors", "call_anchors", "left"),
    [(9, 3, 1, 1, (7, 3)), (3, 9, 1, 2, (3, 6)), (4, 5, 3, 3, (4, 5)), (1, 9, 1, 6, (1, 1)), (0, 5, 0, 1, (0, 5))],
)
def test_what_says_call_is_at_most_twice_what_says_do_not_and_the_reverse_where_both_are_there(
    unneeded: int, not_made: int, prose_anchors: int, call_anchors: int, left: tuple[int, int]
) -> None:
    told = replace(pair_of("unneeded_call", 0.5), sample_id="prose")
    refused = pair_of("no_call", 0.5)
    right, right_calls = (replace(pair, reason="anchor", rejected_ids=()) for pair in (told, refused))
    pairs = [*[told] * unneeded, pair_of("wrong_value", 0.1), *[refused] * not_made]
    pairs += [*[right] * prose_anchors, *[right_calls] * call_anchors]
    dropped: Counter[str] = Counter()
    counts = Counter(pair.reason for pair in even_out(pairs, {"prose"}, 2.0, dropped))
    assert (counts["unneeded_call"], counts["no_call"]) == left
    assert (counts["wrong_value"], counts["anchor"]) == (1, prose_anchors + call_anchors)
    assert dropped.total() == unneeded + not_made - sum(left)


def test_one_reason_alone_is_not_balanced_away() -> None:
    pairs = [pair_of("a", 0.5)] * 4
    assert balance(pairs, 0.5, Counter()) == pairs


def test_overlap_is_that_of_token_sets() -> None:
    assert overlap((1, 2, 2), (2, 1)) == 1.0
    assert overlap((1, 2), (2, 3)) == pytest.approx(1 / 3)


def test_pairs_of_real_trees_are_ids_of_the_tree_and_their_log_probs() -> None:
    policy = policy_of()
    for extent in ("step", "turn", "chosen_turn"):
        mined = mine_pairs(trees_of(*SAMPLES), replace(LOOSE, extent=extent))
        assert {pair.sample_id for pair in mined.pairs} == {"one", "two", "none", "hard"}
        for pair in mined.pairs:
            chosen, rejected = policy.logprob([pair.prompt_ids] * 2, [pair.chosen_ids, pair.rejected_ids])
            assert (pair.chosen_logprob, pair.rejected_logprob) == pytest.approx((sum(chosen), sum(rejected)))


def test_the_chosen_side_of_a_pair_is_compatible_and_the_rejected_one_is_not() -> None:
    world = world_of()
    by_id = {sample.id: sample for sample in SAMPLES}
    for pair in mine_pairs(trees_of(*SAMPLES), LOOSE).pairs:
        sample = by_id[pair.sample_id]
        written = text_of(pair.prompt_ids).partition("\x01")[2]
        for side, is_right in ((pair.chosen_ids, True), (pair.rejected_ids, False)):
            scan = HERMES.scan(written + text_of(side))
            objection = world.verifier.objection(sample, scan.partial)
            if side[-1] == 0:
                objection = objection or world.judge(sample, parse(HERMES, written + text_of(side))).reason
            assert objection == ("" if is_right else pair.reason)


def test_a_wrong_number_at_the_end_of_a_call_makes_a_pair() -> None:
    pairs = mine_pairs(trees_of(ONE), LOOSE).pairs
    assert (', "days": 3}', ', "days": 4}') in [
        (text_of(pair.chosen_ids), text_of(pair.rejected_ids)) for pair in pairs
    ]


def test_a_pair_is_planted_only_where_its_chosen_step_was_never_sampled() -> None:
    pairs = [pair for pair in mine_pairs(trees_of(*SAMPLES), LOOSE).pairs if pair.sample_id == "hard"]
    sides = {text_of(pair.chosen_ids): pair.planted for pair in pairs}
    assert sides == {'<tool_call>\n{"name": "book"': False, ', "seats": 2}': True, "}\n</tool_call>": True}


def test_words_before_a_call_that_is_not_needed_are_no_part_of_what_is_cut_off() -> None:
    """Both sides say the same at first; what counts of the accepted words is what comes where they part."""
    tree = tree_of(
        node(0, 1, 2, 3, 4, 5, 6, 7, reward=1.0),
        node(0, 1, 2, 3, 4, 20, 21, reward=0.0, objection="unneeded_call"),
    )
    (pair,) = mine_pairs([tree], replace(LOOSE, num_prose_tokens=2)).pairs
    assert pair.rejected_ids == (1, 2, 3, 4, 20, 21)
    assert (pair.chosen_ids, pair.chosen_logprob) == ((1, 2, 3, 4, 5, 6), -3.0)


def test_a_chosen_side_is_never_the_beginning_of_its_rejected_one() -> None:
    tree = tree_of(node(0, 1, 2, reward=1.0), node(0, 1, 2, 3, reward=0.0, objection="wrong_value"))
    mined = mine_pairs([tree], LOOSE)
    assert mined.pairs == () and mined.dropped == {"chosen is the beginning of rejected": 1}
