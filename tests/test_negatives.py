"""In-batch negatives: a request in front of another candidate's tools."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from toys import PARIS, call, policy_of, sample_of, tool, world_of

from iterft.config import DeficiencySettings, PairSettings, SearchSettings
from iterft.deficiency import find_deficient
from iterft.dialects.hermes import HERMES
from iterft.log import Log
from iterft.negatives import find, in_batch_negatives
from iterft.pairs import mine_pairs
from iterft.search import lay_out
from iterft.types import Sample, Tool, ToolCall

PAY, MEND = tool("pay_invoice", number="integer"), tool("mend_bicycle", wheel="string")
WEATHER = tool("weather", city="string", days="integer")


def shown(name: str, tools: tuple[Tool, ...], *answer: ToolCall) -> Sample:
    sample = sample_of(name, *answer)
    return replace(sample, prompt=replace(sample.prompt, tools=tools))


ASKS = shown("asks", (WEATHER, PAY), PARIS)
PAYS = shown("pays", (PAY, MEND), call("pay_invoice", number=7))
MENDS = shown("mends", (MEND,), call("mend_bicycle", wheel="front"))
CHATS = shown("chats", (MEND,))


def test_a_request_is_shown_with_the_tools_of_another_and_no_call_is_right() -> None:
    made = {sample.id: sample for sample in in_batch_negatives([ASKS, MENDS], 1.0, 0)}
    assert set(made) == {"asks+tools of mends", "mends+tools of asks"}
    first = made["asks+tools of mends"]
    assert (first.prompt.messages, first.prompt.tools, first.answer) == (ASKS.prompt.messages, (MEND,), ())
    assert first.text, "what to answer instead"


def test_a_list_that_holds_a_tool_like_a_right_one_is_not_shown() -> None:
    assert [sample.id for sample in in_batch_negatives([ASKS, PAYS], 1.0, 0)] == ["asks+tools of pays"]
    alike = shown("alike", (tool("get_weather", place="string"),), call("get_weather", place="Paris"))
    assert in_batch_negatives([ASKS, alike], 1.0, 0) == []
    assert in_batch_negatives([ASKS, shown("again", (WEATHER, PAY), PARIS)], 1.0, 0) == [], "only one list"


def test_what_needs_no_call_or_goes_on_a_dialogue_is_left_alone() -> None:
    before = {"role": "assistant", "content": "Where?"}
    dialogue = replace(ASKS, prompt=replace(ASKS.prompt, messages=(before, *ASKS.prompt.messages)))
    assert in_batch_negatives([dialogue, CHATS], 1.0, 0) == []


def test_a_share_of_them_with_a_seed_those_of_one_list_side_by_side() -> None:
    many = [replace(sample, id=f"{sample.id}{copy}") for copy in range(8) for sample in (ASKS, PAYS, MENDS)]
    assert in_batch_negatives(many, 0.0, 0) == []
    made = in_batch_negatives(many, 0.5, 3)
    assert len(made) == 12
    assert made == in_batch_negatives(many, 0.5, 3) != in_batch_negatives(many, 0.5, 4)
    lists = [sample.prompt.tools for sample in in_batch_negatives(many, 1.0, 0)]
    assert sum(one != other for one, other in pairwise(lists)) < 6, "a few stretches of 24"


def test_it_is_found_again_by_its_id() -> None:
    by_id = {sample.id: sample for sample in (ASKS, PAYS, MENDS, CHATS)}
    for sample in (*in_batch_negatives([*by_id.values()], 1.0, 0), ASKS):
        assert find(sample.id, by_id) == sample


def test_a_prompt_that_would_be_too_long_is_not_made() -> None:
    policy, world, settings = (
        policy_of(turns={name: {"No.": 1} for name in ("asks", "mends")}),
        world_of(),
        DeficiencySettings(num_samples=1, negative_share=1.0),
    )
    made = in_batch_negatives([ASKS, MENDS], 1.0, 0)
    lengths = sorted(len(policy.render(sample.prompt)) for sample in made)
    assert len(lengths) == 2 and lengths[0] < lengths[1]
    check = find_deficient(
        policy, world, [ASKS, MENDS], {}, settings, 0, Log(quiet=True), plant=True, whole_turns=False,
        max_prompt_tokens=lengths[0],
    )  # fmt: skip
    assert [len(policy.render(item.sample.prompt)) for item in check.negatives] == lengths[:1]


def test_they_are_checked_apart_and_teach_not_to_call() -> None:
    turns = {"asks": {HERMES.render([PARIS]): 1}, "mends": {HERMES.render([call("mend_bicycle", wheel="back")]): 1}}
    policy, world, settings = policy_of(turns=turns), world_of(), DeficiencySettings(num_samples=2, negative_share=1.0)
    quiet = Log(quiet=True)
    check = find_deficient(policy, world, [ASKS, MENDS], {}, settings, 0, quiet, plant=True, whole_turns=False)
    assert [item.sample.id for item in check.mastered] == ["asks"]
    assert [item.sample.id for item in check.weak] == ["mends"]
    assert set(check.history) == {"asks", "mends"}, "no standing of a made one"
    assert [item.reasons for item in check.negatives] == [{"unneeded_call": 2}] * 2
    trees = lay_out(policy, world, check.negatives, SearchSettings())
    pairs = mine_pairs(trees, PairSettings(num_prose_tokens=3, max_reason_share=1.0)).pairs
    assert {pair.reason for pair in pairs} == {"unneeded_call", "anchor"}
    assert all(pair.planted for pair in pairs), "no turn of its own was right"
    assert mine_pairs(lay_out(policy, world, check.negatives, SearchSettings(plant=False)), PairSettings()).pairs == ()
    bare = replace(settings, negative_share=0.0)
    check = find_deficient(policy, world, [ASKS, MENDS], {}, bare, 0, quiet, plant=True, whole_turns=False)
    assert check.negatives == ()
