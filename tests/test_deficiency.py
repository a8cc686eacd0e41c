"""Who counts as deficient, in which order, and how standings carry over iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import pytest
from toys import NONE, PARIS, ROME, SAMPLES, policy_of, sample_of, world_of

from iterft.config import DeficiencySettings
from iterft.deficiency import find_deficient, pick_candidates
from iterft.dialects.hermes import HERMES
from iterft.log import Log
from iterft.synth.tasks import generate
from iterft.types import Checked, Sample, Standing

SETTINGS = DeficiencySettings(num_candidates=10, num_samples=4, share=1.0)
RIGHT, WRONG = HERMES.render([PARIS]), HERMES.render([ROME])


def find(
    samples: list[Sample],
    turns: dict[str, dict[str, float]],
    history: Mapping[str, Standing] | None = None,
    settings: DeficiencySettings = SETTINGS,
    plant: bool = True,
) -> tuple[Sequence[Checked], Mapping[str, Standing]]:
    """The deficient samples, and the standings."""
    policy = policy_of(turns=turns)
    check = find_deficient(
        policy, world_of(), samples, history or {}, settings, 0, Log(quiet=True), plant=plant, whole_turns=True
    )
    return check.weak, check.history


def ids_of(weak: Sequence[Checked]) -> list[str]:
    return [item.sample.id for item in weak]


def group_of(*names: str) -> list[Sample]:
    return [sample_of(name, PARIS) for name in names]


def test_a_sample_that_always_passes_is_not_deficient() -> None:
    weak, history = find(group_of("good", "bad"), {"good": {RIGHT: 1}, "bad": {WRONG: 1}})
    assert ids_of(weak) == ["bad"]
    assert history == {"good": Standing(1, 0, 1.0), "bad": Standing(1, 1, 0.0)}


def test_a_sample_that_always_passes_is_mastered_and_brings_its_turns() -> None:
    policy = policy_of(turns={"good": {RIGHT: 1}, "bad": {WRONG: 1}, "so-so": {RIGHT: 1, WRONG: 1}})
    samples, quiet = group_of("good", "bad", "so-so"), Log(quiet=True)
    check = find_deficient(policy, world_of(), samples, {}, SETTINGS, 0, quiet, plant=True, whole_turns=True)
    (item,) = check.mastered
    assert (item.sample.id, item.pass_rate, item.reasons, len(item.completions)) == ("good", 1.0, {}, 4)


def test_a_deficient_sample_brings_its_failures_and_its_turns() -> None:
    (item,), _ = find(
        group_of("x"), {"x": {WRONG: 3, "Let me see.": 1, RIGHT: 4}}, settings=replace(SETTINGS, num_samples=40)
    )
    assert 0.2 < item.pass_rate < 0.8
    assert set(item.reasons) == {"wrong_value", "no_call"}
    assert sum(item.reasons.values()) == round(40 * (1 - item.pass_rate))
    assert len(item.completions) == 40
    assert item.perplexity == pytest.approx(2 ** (1 / (len(RIGHT) + 1)))


def test_those_that_sometimes_succeed_come_first_the_worst_of_them_before_ties_by_perplexity() -> None:
    turns = {
        "half": {RIGHT: 1, WRONG: 1},
        "mostly": {RIGHT: 4, WRONG: 1},
        "never": {WRONG: 1},
        "nearly": {WRONG: 999, RIGHT: 1},
    }
    weak, _ = find(group_of("mostly", "half", "nearly", "never"), turns, settings=replace(SETTINGS, num_samples=8))
    assert ids_of(weak) == ["half", "mostly", "never", "nearly"]
    weak, _ = find(group_of("half", "nearly", "never"), turns, settings=replace(SETTINGS, num_samples=8, share=0.5))
    assert ids_of(weak) == ["half", "never"], "the share is rounded up"


def test_call_and_no_call_samples_are_ranked_apart() -> None:
    calls = group_of("c1", "c2")
    no_calls = [sample_of(name, text="Sorry.") for name in ("n1", "n2")]
    turns = {name: {WRONG: 1} for name in ("c1", "c2", "n1", "n2")}
    weak, _ = find([*no_calls, *calls], turns, settings=replace(SETTINGS, share=0.5))
    assert [bool(item.sample.answer) for item in weak] == [True, False]


def test_without_planting_what_never_passes_is_left_out() -> None:
    turns = {"never": {WRONG: 1}, "half": {RIGHT: 1, WRONG: 1}}
    samples = group_of("never", "half")
    assert set(ids_of(find(samples, turns)[0])) == {"never", "half"}
    weak, history = find(samples, turns, plant=False)
    assert ids_of(weak) == ["half"]
    assert history["never"] == Standing(1, 1, 0.0)


def test_a_mended_sample_leaves_and_a_fruitless_one_rests() -> None:
    history = {
        "mended": Standing(1, 0, 1.0),
        "weak": Standing(1, 0, 0.5),
        "tried": Standing(1, 1, 0.0),
        "resting": Standing(2, 2, 0.0),
    }
    samples = group_of("mended", "weak", "tried", "resting", "new1", "new2")
    picked = [sample.id for sample in pick_candidates(samples, history, replace(SETTINGS, num_candidates=4), 0)]
    assert sorted(picked[:2]) == ["tried", "weak"]
    assert sorted(picked[2:]) == ["new1", "new2"]
    everyone = [sample.id for sample in pick_candidates(samples, history, SETTINGS, 0)]
    assert set(everyone[-2:]) == {"mended", "resting"}, "they fill up when all others run out"


def test_known_weak_samples_take_no_more_than_half_while_there_are_new_ones() -> None:
    samples = group_of(*(f"old{n}" for n in range(20)), *(f"new{n}" for n in range(20)))
    history = {f"old{n}": Standing(1, 0, 0.5) for n in range(20)}
    picked = [sample.id[:3] for sample in pick_candidates(samples, history, SETTINGS, 0)]
    assert picked == ["old"] * 5 + ["new"] * 5
    picked = [sample.id[:3] for sample in pick_candidates(samples[:22], history, SETTINGS, 0)]
    assert sorted(picked) == ["new"] * 2 + ["old"] * 8


def test_candidates_depend_on_the_seed_alone() -> None:
    samples = group_of(*map(str, range(40)))
    first = pick_candidates(samples, {}, SETTINGS, 1)
    assert first == pick_candidates(samples, {}, SETTINGS, 1)
    assert first != pick_candidates(samples, {}, SETTINGS, 2)


def test_fruitless_checks_are_counted_in_a_row() -> None:
    samples = group_of("x")
    _, history = find(samples, {"x": {WRONG: 1}})
    _, history = find(samples, {"x": {WRONG: 1}}, history)
    assert history["x"] == Standing(2, 2, 0.0)
    assert pick_candidates([*samples, *group_of("new")], history, replace(SETTINGS, num_candidates=1), 0)[0].id == "new"
    _, history = find(samples, {"x": {RIGHT: 1}}, history)
    assert history["x"] == Standing(3, 0, 1.0)


def test_the_history_given_is_not_changed() -> None:
    before = {"x": Standing(1, 0, 0.5)}
    find(group_of("x"), {"x": {WRONG: 1}}, before)
    assert before == {"x": Standing(1, 0, 0.5)}


def test_the_toy_policy_is_weak_on_every_sample_of_the_toy_world() -> None:
    settings, quiet = replace(SETTINGS, num_samples=16), Log(quiet=True)
    check = find_deficient(policy_of(), world_of(), SAMPLES, {}, settings, 0, quiet, plant=True, whole_turns=True)
    assert set(ids_of(check.weak)) == {"one", "two", "none", "hard"}
    assert ids_of(check.weak)[-1] == NONE.id


def test_candidates_come_from_as_many_tool_lists_as_a_few_of_each_allow() -> None:
    """As `data.queries_per_list` makes them: lists that several queries show, here 8 each."""
    samples = generate(80, 0, "train", queries_per_list=8)
    few = replace(SETTINGS, num_candidates=16, candidates_per_list=2)
    for settings in (few, replace(few, candidates_per_list=8)):
        runs = [list(group) for _, group in groupby(pick_candidates(samples, {}, settings, 0), tools_of)]
        assert all(len(run) <= settings.candidates_per_list for run in runs), "side by side, and no more of them"
        assert sum(map(len, runs)) == 16
    assert num_lists(pick_candidates(samples, {}, few, 0)) >= 6
    everyone = replace(few, num_candidates=80)
    assert len(pick_candidates(samples, {}, everyone, 0)) == 80, "none is left out where all are wanted"


def tools_of(sample: Sample) -> str:
    return str(sample.prompt.tools)


def num_lists(samples: Sequence[Sample]) -> int:
    return len(set(map(tools_of, samples)))
