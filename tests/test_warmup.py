"""The curriculum: which sample is in which tier, and in which order tiers come."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from toys import call, tool

from iterft.config import TierSettings, WarmupSettings
from iterft.data import BLOCK, in_blocks
from iterft.types import Prompt, Sample
from iterft.warmup import TIERS, easy_to_hard, learnt_part, tier_table, tiers_of

TIER = TierSettings(
    hard_num_tools=4,
    hard_tool_characters=2000,
    hard_num_calls=4,
    easy_num_tools=1,
    easy_tool_characters=1000,
    easy_num_calls=1,
)
"""iTool's own thresholds."""
ONE_PASS, BABY_STEPS, SHUFFLED = (
    WarmupSettings(tiers=TIER, curriculum=kind) for kind in ("one_pass", "baby_steps", "none")
)


def sample_of(name: str, num_tools: int = 1, num_calls: int = 1, description: int = 0, source: str = "") -> Sample:
    one = {**tool("f"), "description": "x" * description}
    return Sample(name, Prompt((), (one,) * num_tools), (call("f"),) * num_calls, source=source)


@pytest.mark.parametrize(
    ("sample", "tier"),
    [
        (sample_of("plain"), "easy"),
        (sample_of("no call", num_calls=0), "easy"),
        (sample_of("two tools", num_tools=2), "medium"),
        (sample_of("two calls", num_calls=2), "medium"),
        (sample_of("long", description=1000), "medium"),
        (sample_of("three of each", num_tools=3, num_calls=3), "medium"),
        (sample_of("four tools", num_tools=4), "hard"),
        (sample_of("four calls", num_calls=4), "hard"),
        (sample_of("longer", description=2000), "hard"),
    ],
    ids=lambda value: value.id if isinstance(value, Sample) else value,
)
def test_one_hard_mark_makes_hard_and_all_easy_marks_make_easy(sample: Sample, tier: str) -> None:
    assert tiers_of([sample], TIER) == {sample.id: tier}


def test_tiers_follow_each_other_and_nothing_is_lost() -> None:
    samples = [sample_of(f"s{number}", num_tools=1 + number % 5) for number in range(40)]
    ordered = easy_to_hard(samples, ONE_PASS, 0)
    found = tiers_of(ordered, TIER)
    ranks = [TIERS.index(found[sample.id]) for sample in ordered]
    assert ranks == sorted(ranks) and set(ranks) == {0, 1, 2}
    assert sorted(sample.id for sample in ordered) == sorted(sample.id for sample in samples)


def test_in_one_pass_a_tier_is_shuffled_as_it_came_whatever_lists_its_samples_show() -> None:
    samples = [sample_of(f"s{number}", description=number % 7) for number in range(60)]
    expected = list(samples)
    random.Random("3 easy").shuffle(expected)
    assert easy_to_hard(samples, ONE_PASS, 3) == in_blocks(expected), "figures were measured in this order"


def test_in_baby_steps_easier_tiers_stay_in_to_the_end() -> None:
    samples = [sample_of(f"s{number}", num_tools=(1, 2, 5)[number % 3]) for number in range(180)]
    ordered = easy_to_hard(samples, BABY_STEPS, 0)
    found = tiers_of(ordered, TIER)
    assert sorted(sample.id for sample in ordered) == sorted(sample.id for sample in samples)
    phases = [
        Counter(found[sample.id] for sample in ordered[start:end]) for start, end in ((0, 20), (20, 70), (70, 180))
    ]
    assert phases == [{"easy": 20}, {"easy": 20, "medium": 30}, {"easy": 20, "medium": 30, "hard": 60}]
    assert {found[sample.id] for sample in ordered[-30:]} == {"easy", "medium", "hard"}, "shuffled within the phase"


def test_without_a_curriculum_tiers_do_not_matter() -> None:
    samples = [sample_of(f"s{number}", num_tools=(1, 2, 5)[number % 3]) for number in range(180)]
    ordered = easy_to_hard(samples, SHUFFLED, 0)
    found = tiers_of(ordered, TIER)
    assert sorted(sample.id for sample in ordered) == sorted(sample.id for sample in samples)
    assert all({found[sample.id] for sample in ordered[at : at + 30]} == {*TIERS} for at in range(0, 180, 30))


def test_the_order_within_a_tier_is_drawn_from_the_seed() -> None:
    samples = [sample_of(f"s{number}") for number in range(20)]
    assert easy_to_hard(samples, ONE_PASS, 0) != samples
    assert easy_to_hard(samples, ONE_PASS, 0) == easy_to_hard(samples, ONE_PASS, 0)
    assert easy_to_hard(samples, ONE_PASS, 0) != easy_to_hard(samples, ONE_PASS, 1)


def test_samples_of_one_tool_list_meet_but_have_no_stretch_of_their_own() -> None:
    samples = [sample_of(f"{num_tools}-{number}", num_tools) for num_tools in (2, 3) for number in range(80)]
    ordered = easy_to_hard(samples, ONE_PASS, 0)
    shown = [len(sample.prompt.tools) for sample in ordered]
    assert sorted(shown) == [2] * 80 + [3] * 80
    assert all(len(set(shown[at : at + BLOCK])) == 1 for at in range(0, 160, BLOCK))
    assert {2, 3} == set(shown[: 5 * BLOCK]) == set(shown[-5 * BLOCK :])


def test_the_table_counts_tiers_per_source() -> None:
    samples = [sample_of("a", source="x"), sample_of("b", source="x", num_tools=9), sample_of("c", source="y")]
    assert tier_table(samples, TIER) == {
        "x": {"easy": 1, "medium": 0, "hard": 1},
        "y": {"easy": 1, "medium": 0, "hard": 0},
    }


def test_calls_are_learnt_whole_and_of_plain_words_the_beginning() -> None:
    calling = Sample("a", Prompt((), ()), (call("ping"),))
    silent = Sample("b", Prompt((), ()), (), text="I cannot do that.")
    assert learnt_part(calling, range(10), 4) == tuple(range(10))
    assert learnt_part(silent, range(10), 4) == (0, 1, 2, 3)
    assert learnt_part(silent, range(3), 4) == (0, 1, 2)


def test_thresholds_are_settings() -> None:
    assert tiers_of([sample_of("x", num_tools=2)], replace(TIER, easy_num_tools=2)) == {"x": "easy"}
