"""Intervals of held-out accuracy over items that show the same tools."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from iterft import Recipe
from iterft.build import parts
from iterft.data import by_tool_list
from iterft.evals.held_out import interval_over_lists, wilson


def test_items_with_tools_of_their_own_have_wilsons_interval() -> None:
    assert interval_over_lists([[True]] * 20 + [[False]] * 44) == pytest.approx(wilson(20, 64))


def test_one_list_alone_has_wilsons_interval() -> None:
    assert interval_over_lists([[True] * 20 + [False] * 44]) == pytest.approx(wilson(20, 64))


@pytest.mark.parametrize("passed", [True, False])
def test_all_alike_is_no_certainty(passed: bool) -> None:
    low, high = interval_over_lists([[passed] * 4] * 16)
    assert high - low == pytest.approx(wilson(0, 64)[1])


def test_items_that_pass_or_fail_together_count_as_one() -> None:
    low, high = interval_over_lists([[number < 6] * 4 for number in range(16)])
    assert (low, high) == pytest.approx(wilson(6, 16), abs=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Lists of four whose tools are hard or easy: 95 % of 2,000 intervals, where Wilson's over items has fewer."""
    draw = random.Random(0)
    found = {"lists": 0, "items": 0}
    for _ in range(2000):
        lists = [[draw.random() < ease for _ in range(4)] for ease in draw.choices([0.05, 0.75], k=16)]
        low, high = interval_over_lists(lists)
        found["lists"] += low <= 0.4 <= high
        low, high = wilson(sum(map(sum, lists)), 64)
        found["items"] += low <= 0.4 <= high
    assert found["lists"] / 2000 == pytest.approx(0.95, abs=0.03) and found["items"] / 2000 < 0.85


def test_the_default_recipe_shows_the_same_held_out_tools_four_times() -> None:
    train, held_out, _ = parts(Recipe.load("smollm2-135m"))
    sizes = [len(group) for group in by_tool_list(held_out)]
    assert len(held_out) == 64 and fmean(sizes) > 3
    shown = {tool["name"] for sample in train for tool in sample.prompt.tools}
    assert not shown & {tool["name"] for sample in held_out for tool in sample.prompt.tools}
