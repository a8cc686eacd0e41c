"""Grades by option-token probabilities: what they are, where they count, and by whom they are given."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_loop import small_recipe
from toys import NONE, ONE, PARIS, SAMPLES, WORDS, MemoryJournal, policy_of, text_of, weak_of, world_of

from iterft import Iterator
from iterft.config import PairSettings, SearchSettings
from iterft.dialects.hermes import HERMES
from iterft.log import Log
from iterft.pairs import mine_pairs
from iterft.policies.scripted import ScriptedPolicy
from iterft.protocols import Grader
from iterft.rewards.self_judge import GRADES, SelfJudge, grade, question
from iterft.search import search
from iterft.store import Journal
from iterft.types import Sample, Tree

SETTINGS = SearchSettings(num_simulations=12, num_samples=2)


def test_a_grade_is_the_mean_of_the_options_under_their_probabilities() -> None:
    sure = [0.0, -math.inf, -math.inf, -math.inf]
    assert [grade([sure[(at - n) % 4] for at in range(4)]) for n in range(4)] == list(GRADES.values())
    assert grade([-5.0] * 4) == pytest.approx(sum(GRADES.values()) / 4)
    assert grade([math.log(0.06), math.log(0.02), -math.inf, math.log(0.12)]) == pytest.approx((0.06 + 0.014) / 0.2)


def test_the_released_options_in_0_to_1() -> None:
    """(1.0 A + 0.1 B - 1.0 C - 2.0 D) / 4 lies between -0.5 and 0.25."""
    released = {"A": 1.0, "B": 0.1, "C": -1.0, "D": -2.0}
    assert {option: (value / 4 + 0.5) / 0.75 for option, value in released.items()} == pytest.approx(GRADES)


def test_the_judge_reads_the_probabilities_of_its_policy() -> None:
    right = HERMES.render([PARIS])
    quoted = json.dumps(right)[1:-1]
    policy = ScriptedPolicy(lambda prompt: {"A": 3, "C": 1} if quoted in prompt else {"D": 1})
    assert SelfJudge(policy)([ONE, ONE], [right, WORDS]) == pytest.approx([(3 + 1 / 3) / 4, 0.0], abs=1e-6)


def test_the_judge_sees_tools_conversation_and_reply_and_no_reference() -> None:
    (message,) = question(replace(NONE, text="A secret reply."), WORDS).messages
    for shown in ("\nweather\n", "seats (integer)", "user: none", WORDS):
        assert shown in message["content"]
    assert "secret" not in message["content"]


def prefers_words(samples: Sequence[Sample], turns: Sequence[str]) -> list[float]:
    return [0.8 if turn == WORDS else 0.1 for turn in turns]


def grow(self_weight: float, grader: Grader | None) -> list[Tree]:
    policy = policy_of()
    weak = [weak_of(sample, policy) for sample in SAMPLES]
    settings = replace(SETTINGS, self_weight=self_weight)
    journal, log = MemoryJournal(), Log(quiet=True)
    return search(policy, world_of(), weak, settings, 0, journal, log, whole_turns=True, grader=grader)


def test_grades_count_for_their_weight_in_values_and_leave_verdicts_alone() -> None:
    for tree in grow(0.25, prefers_words):
        total = 0.0
        for index, node in enumerate(tree.nodes):
            if node.reward is None:
                assert node.grade is None
                continue
            assert node.reward in (0.0, 1.0)
            assert node.grade == (0.8 if text_of(tree.path_ids(index)) == WORDS else 0.1)
            total += node.visits * (0.75 * node.reward + 0.25 * node.grade)
        assert tree.nodes[0].value_sum == pytest.approx(total)


def test_without_weight_a_search_is_what_it_is_without_a_grader() -> None:
    graded = grow(0.0, prefers_words)
    for tree in graded:
        for node in tree.nodes:
            node.grade = None
    assert graded == grow(0.0, None)


def test_pairs_part_by_the_verifier_whatever_the_grader_likes() -> None:
    for pair in mine_pairs(grow(0.9, prefers_words), PairSettings(anchors=False, min_margin=-1.0)).pairs:
        assert pair.reason, "the rejected side has a named error"
        assert not text_of(pair.chosen_ids).startswith(WORDS[:5])


@pytest.mark.slow
def test_all_iterations_are_graded_by_the_checkpoint_of_the_warm_up(tmp_path: Path) -> None:
    recipe = small_recipe("search.self_weight=0.3", "iters=2", "model.dialect=pythonic")
    iterator = Iterator(recipe, tmp_path / "run", quiet=True)
    iterator.run()
    by_id = {sample.id: sample for sample in iterator.samples}
    for iteration in (1, 2):
        rows = []
        with iterator.serve(iterator.store.checkpoint(0)) as policy:
            for tree in Journal(tmp_path / "run" / f"iter_00{iteration}" / "trees.jsonl").read().values():
                for index, node in enumerate(tree.nodes):
                    if node.grade is not None:
                        text = "".join(policy.token_texts(tree.path_ids(index)))
                        rows.append((by_id[tree.sample_id], text, node.grade))
            samples, turns, grades = zip(*rows, strict=True)
            assert SelfJudge(policy)(samples, turns) == pytest.approx(list(grades), abs=1e-4)
