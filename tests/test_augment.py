"""Augmentation: what is made is right, as much as was asked for, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from iterft.augment import MAX_TOOLS, augment
from iterft.data import kind_of
from iterft.dialects.hermes import HERMES
from iterft.envs.recorded import RecordedEnvironment
from iterft.rewards.call_match import CallMatch
from iterft.rollout import World, reference_calls
from iterft.synth.tasks import generate
from iterft.types import Prompt, Sample, ToolCall, Turn

SAMPLES = [sample for sample in generate(400, 0, "train") if kind_of(sample) == "single"]


def made_of(samples: list[Sample], no_call: float, parallel: float, seed: int = 0) -> list[Sample]:
    known = {sample.id for sample in samples}
    return [sample for sample in augment(samples, no_call, parallel, seed) if sample.id not in known]


def test_each_sort_makes_up_its_share_and_the_samples_stay() -> None:
    mixed = augment(SAMPLES, 0.2, 0.1, 0)
    kinds = Counter(kind_of(sample) for sample in mixed)
    assert kinds["single"] == len(SAMPLES)
    assert kinds["no_call"] == pytest.approx(0.2 * len(mixed), abs=1)
    assert kinds["parallel"] == pytest.approx(0.1 * len(mixed), abs=1)
    assert len({sample.id for sample in mixed}) == len(mixed)


def test_every_made_sample_passes_its_own_verification() -> None:
    world = World(HERMES, RecordedEnvironment(), CallMatch())
    made = made_of(SAMPLES, 0.3, 0.3)
    assert made
    for sample in made:
        assert world.judge(sample, Turn(sample.text, reference_calls(sample))).value == 1.0, sample.id


def test_no_right_tool_is_left_and_some_tool_is() -> None:
    originals = {sample.id: sample for sample in SAMPLES}
    for sample in made_of(SAMPLES, 0.4, 0.0):
        used = {call.name for call in originals[sample.id.removesuffix("+taken_away")].answer}
        assert sample.prompt.tools and not used & {tool["name"] for tool in sample.prompt.tools}
        assert sample.text and not sample.answer


def test_joined_samples_hold_both_requests_all_tools_and_all_calls() -> None:
    originals = {sample.id: sample for sample in SAMPLES}
    made = made_of(SAMPLES, 0.0, 0.3)
    for sample in made:
        first, second = (originals[name] for name in sample.id.split("+"))
        (message,) = sample.prompt.messages
        assert message["content"].startswith(first.prompt.messages[0]["content"])
        assert message["content"].endswith(second.prompt.messages[0]["content"])
        assert sample.answer == first.answer + second.answer
        names = {tool["name"] for tool in sample.prompt.tools}
        assert names == {tool["name"] for tool in (*first.prompt.tools, *second.prompt.tools)}
        assert len(sample.prompt.tools) == len(names) <= MAX_TOOLS


def test_tools_that_share_a_name_and_differ_are_never_shown_together() -> None:
    def weather(identity: str, description: str) -> Sample:
        tool = {"name": "weather", "description": description, "parameters": {"type": "object", "properties": {}}}
        return Sample(identity, Prompt(({"role": "user", "content": "?"},), (tool,)), (ToolCall("weather", {}),))

    assert made_of([weather("a", "now"), weather("b", "tomorrow")], 0.0, 0.4) == []


def test_the_seed_says_everything() -> None:
    assert augment(SAMPLES, 0.2, 0.2, 3) == augment(SAMPLES, 0.2, 0.2, 3) != augment(SAMPLES, 0.2, 0.2, 4)


def test_shares_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.no_call_share, data\.parallel_share: must add up to less than 1"):
        augment(SAMPLES, 0.5, 0.5, 0)
