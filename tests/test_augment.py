"""Augmentation: what is made is right, as much as was asked for, shown in shared lists, and the same for each seed."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterft import build
from iterft.augment import augment, changes_in
from iterft.augment.made import MAX_TOOLS
from iterft.augment.pool import ToolPool, asked_words, load_pool, words
from iterft.chat import parse
from iterft.config import DataSettings
from iterft.data import by_tool_list, kind_of
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.envs.recorded import RecordedEnvironment
from iterft.readers.parts import as_answer
from iterft.recipe import Recipe
from iterft.rewards.call_match import CallMatch
from iterft.rollout import World, reference_calls, reference_text
from iterft.synth.tasks import generate
from iterft.types import Prompt, Sample, Tool, ToolCall, Turn

TASKS = generate(400, 0, "train")
SAMPLES = [sample for sample in TASKS if kind_of(sample) == "single"]
BY_LIST = generate(400, 0, "train", queries_per_list=8)
EVERYTHING = {
    "no_call_share": 0.2,
    "parallel_share": 0.1,
    "distractor_share": 0.6,
    "shuffled_share": 0.6,
    "masked_share": 0.6,
    "reworded_share": 0.2,
    "typo_share": 0.3,
}
WORLD = World(HERMES, RecordedEnvironment(), CallMatch())


def augmented(samples: list[Sample], seed: int = 0, pool: ToolPool | None = None, **settings: Any) -> list[Sample]:
    return augment(samples, DataSettings(**settings), pool or load_pool("", samples, ()), seed)


def made_of(samples: list[Sample], **settings: Any) -> list[Sample]:
    known = {sample.id for sample in samples}
    return [sample for sample in augmented(samples, **settings) if sample.id not in known]


def names_of(sample: Sample) -> list[str]:
    return [tool["name"] for tool in sample.prompt.tools]


def tool(name: str, description: str = "", **properties: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "parameters": parameters}


def ask(identity: str, request: str, tools: list[Tool], *answer: ToolCall) -> Sample:
    return Sample(identity, Prompt(({"role": "user", "content": request},), tuple(tools)), answer, text="No.")


def passes(sample: Sample) -> bool:
    turn = Turn("" if sample.answer else sample.text, reference_calls(sample))
    return WORLD.judge(sample, turn).value == 1.0


def assert_only_the_last_content_differs(before: Sample, after: Sample) -> None:
    """And the id, which says what was done."""
    (*earlier, last), (*earlier_after, last_after) = before.prompt.messages, after.prompt.messages
    assert earlier == earlier_after and {**last, "content": ""} == {**last_after, "content": ""}
    assert replace(after, id=before.id, prompt=replace(after.prompt, messages=before.prompt.messages)) == before


def test_each_sort_makes_up_its_share_and_the_samples_stay() -> None:
    mixed = augmented(SAMPLES, no_call_share=0.2, parallel_share=0.1)
    kinds = Counter(kind_of(sample) for sample in mixed)
    assert kinds["single"] == len(SAMPLES)
    assert kinds["no_call"] == pytest.approx(0.2 * len(mixed), abs=1)
    assert kinds["parallel"] == pytest.approx(0.1 * len(mixed), abs=1)
    assert len({sample.id for sample in mixed}) == len(mixed)


@pytest.mark.parametrize("samples", [TASKS, BY_LIST], ids=["single lists", "shared lists"])
def test_every_sample_passes_its_own_verification_with_everything_on(samples: list[Sample]) -> None:
    mixed = augmented(samples, **EVERYTHING)
    assert all(map(passes, mixed))
    assert len({sample.id for sample in mixed}) == len(mixed) > len(samples)
    for change in (
        "+taken_away",
        "+distracted",
        "+shuffled",
        "+masked",
        "+reworded",
        "+typos",
        "+distracted+shuffled+masked",
    ):
        assert any(change in sample.id for sample in mixed), change


def test_what_was_changed_is_counted_as_asked_for() -> None:
    mixed = augmented(SAMPLES, no_call_share=0.2, parallel_share=0.1, reworded_share=0.1, typo_share=0.3)
    counts = changes_in(mixed)
    assert counts == {
        "taken_away": pytest.approx(0.2 * len(mixed), abs=1),
        "joined": pytest.approx(0.1 * len(mixed), abs=1),
        "reworded": pytest.approx(0.1 * len(mixed), abs=1),
        "typos": pytest.approx(0.3 * len(mixed), abs=1),
    }
    assert changes_in(SAMPLES) == {}


def test_no_right_tool_is_left_and_some_tool_is() -> None:
    originals = {sample.id: sample for sample in SAMPLES}
    for sample in made_of(SAMPLES, no_call_share=0.4):
        used = {call.name for call in originals[sample.id.removesuffix("+taken_away")].answer}
        assert sample.prompt.tools and not used & set(names_of(sample))
        assert sample.text and not sample.answer


def test_no_tool_is_taken_away_from_a_dialogue_that_is_under_way() -> None:
    follow_ups = [sample for sample in SAMPLES if len(sample.prompt.messages) > 1]
    assert follow_ups
    assert made_of(follow_ups, no_call_share=0.4) == []
    assert all(len(sample.prompt.messages) == 1 for sample in made_of(SAMPLES, no_call_share=0.4))


def test_a_stand_in_for_the_only_tool_shares_no_word_with_it_or_the_request() -> None:
    weather = tool("get_weather", "Weather forecast for a city", city={"type": "string"})
    sample = ask("a", "Weather in Oslo?", [weather], ToolCall("get_weather", {"city": ["Oslo"]}))
    near = tool("city_climate", "Climate and seasons somewhere")
    far = tool("bake_bread", "Recipe with flour and yeast")
    (made,) = made_of([sample], no_call_share=0.5, pool=ToolPool([near, far]))
    assert names_of(made) == ["bake_bread"]
    says_nothing = tool("run")
    assert made_of([sample], no_call_share=0.5, pool=ToolPool([near, says_nothing])) == []


def test_joined_samples_hold_both_requests_all_tools_and_all_calls() -> None:
    originals = {sample.id: sample for sample in SAMPLES}
    for sample in made_of(SAMPLES, parallel_share=0.3):
        first, second = (originals[name] for name in sample.id.removesuffix("+joined").split("+"))
        (message,) = sample.prompt.messages
        assert message["content"].startswith(first.prompt.messages[0]["content"])
        assert message["content"].endswith(second.prompt.messages[0]["content"])
        assert sample.answer == first.answer + second.answer
        names = set(names_of(sample))
        assert names == {*names_of(first), *names_of(second)}
        assert len(sample.prompt.tools) == len(names) <= MAX_TOOLS


def test_tools_that_share_a_name_and_differ_are_never_shown_together() -> None:
    samples = [ask(name, "?", [tool("weather", name)], ToolCall("weather", {})) for name in ("now", "tomorrow")]
    assert made_of(samples, parallel_share=0.4) == []


def test_requests_for_the_same_call_or_with_a_tool_that_could_stand_in_are_not_joined() -> None:
    weather, lamp = tool("weather", "The weather of a city", city={}), tool("lamp", "Switches a lamp", room={})
    oslo = ask("oslo", "Oslo?", [weather], as_answer(ToolCall("weather", {"city": "Oslo"})))
    again = ask("again", "Oslo now?", [weather], as_answer(ToolCall("weather", {"city": "Oslo"})))
    assert made_of([oslo, again], parallel_share=0.4) == []
    dark = ask("dark", "Dark!", [lamp], as_answer(ToolCall("lamp", {"room": "hall"})))
    assert made_of([oslo, dark], parallel_share=0.4) != []
    rival = replace(dark, prompt=replace(dark.prompt, tools=(lamp, tool("city_weather", "Its weather", city={}))))
    assert made_of([oslo, rival], parallel_share=0.4) == []


@pytest.mark.parametrize("change", ["distractor", "shuffled", "masked"])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_lists_is_changed_to_half_a_list(change: str, share: float) -> None:
    samples = [sample for sample in BY_LIST if len(sample.prompt.tools) > 1]
    mixed = augmented(samples, **{f"{change}_share": share})
    assert len(mixed) == len(samples)
    num_changed = sum("+" in sample.id for sample in mixed)
    assert num_changed == pytest.approx(share * len(samples), abs=4)
    for before, after in zip(samples, mixed, strict=True):
        assert after.id.startswith(before.id)
        assert (after == before) == (after.id == before.id)


def test_samples_of_one_list_go_on_sharing_one() -> None:
    samples = [replace(sample, id=f"s{number}") for number, sample in enumerate(BY_LIST)]
    settings = {"distractor_share": 0.7, "shuffled_share": 0.7, "masked_share": 0.7, "queries_per_list": 1000}
    results = {sample.id.split("+")[0]: sample for sample in augmented(samples, **settings)}
    for group in by_tool_list(samples):
        assert len({json.dumps(results[sample.id].prompt.tools) for sample in group}) == 1


def test_a_list_of_very_many_samples_is_changed_in_parts() -> None:
    weather = [tool("weather", "Now"), tool("tides", "At the coast")]
    samples = [ask(f"s{number}", "?", weather, ToolCall("weather", {})) for number in range(40)]
    mixed = augmented(samples, masked_share=0.5, queries_per_list=8)
    lists = Counter(json.dumps(sample.prompt.tools) for sample in mixed)
    assert sum("+masked" in sample.id for sample in mixed) in (16, 24)
    assert set(lists.values()) <= {8, 16, 24} and len(lists) in (3, 4)


def test_distractors_leave_the_order_and_bring_no_name_twice() -> None:
    for before, after in zip(TASKS, augmented(TASKS, distractor_share=1, max_distractors=3), strict=True):
        own, shown = names_of(before), names_of(after)
        assert [name for name in shown if name in own] == own
        assert len(set(shown)) == len(shown) <= len(own) + 3
        assert (after.id == before.id) == (shown == own)


def test_a_distractor_is_near_when_asked_and_never_alike_to_a_right_tool() -> None:
    booking = tool("book_hotel", "Book a hotel room in a city")
    other = tool("weather", "Forecast of rain and wind")
    twin, near, far = tool("hotel_find"), tool("storm", "Warns of wind and rain"), tool("bake", "Bread from flour")
    pool = ToolPool([twin, near, *(tool(f"bake{'x' * number}", "Bread, flour") for number in range(50)), far])
    added = Counter[str]()
    for seed in range(20):
        sample = ask("a", "A room, please", [booking, other], ToolCall("book_hotel", {}))
        (after,) = augmented([sample], seed, pool, distractor_share=1, near_share=1, max_distractors=1)
        added.update({*names_of(after)} - {"book_hotel", "weather"})
        (after,) = augmented([sample], seed, ToolPool([twin]), distractor_share=1, near_share=0)
        assert after == sample
    assert added["storm"] > 5 and "hotel_find" not in added and added.total() == 20


def test_requests_that_need_no_call_get_unrelated_tools_only() -> None:
    mixed = augmented(TASKS, no_call_share=0.3, distractor_share=1)
    without = {sample.id: sample for sample in augmented(TASKS, no_call_share=0.3)}
    originals = {sample.id: sample for sample in TASKS}
    num_seen = 0
    for sample in mixed:
        before = without[sample.id.removesuffix("+distracted")]
        if sample.answer:
            continue
        right = {call.name for call in originals[before.id.removesuffix("+taken_away")].answer}
        taken = [
            tool for tool in originals[before.id.removesuffix("+taken_away")].prompt.tools if tool["name"] in right
        ]
        asked = asked_words([before], taken)
        for added in (tool for tool in sample.prompt.tools if tool not in before.prompt.tools):
            num_seen += 1
            assert added["name"] not in right
            assert asked.isdisjoint(words(f"{added['name']} {added['description']}")), (sample.id, added["name"])
    assert num_seen > 100


def test_near_tools_are_not_sought_where_no_call_is_right() -> None:
    storm = tool("storm", "Warns of wind and rain")
    pool = ToolPool([storm, *(tool(f"bake{'x' * number}", "Bread from flour") for number in range(50))])
    call = ask("a", "A room, please", [tool("weather", "Forecast of rain and wind")], ToolCall("weather", {}))
    num_near = Counter[bool]()
    for seed in range(20):
        for sample in (call, replace(call, answer=())):
            (after,) = augmented([sample], seed, pool, distractor_share=1, near_share=1, max_distractors=1)
            num_near[bool(sample.answer)] += "storm" in names_of(after)
    assert num_near[True] == 20 and num_near[False] <= 3


def test_shuffling_changes_the_order_only() -> None:
    for before, after in zip(TASKS, augmented(TASKS, shuffled_share=1), strict=True):
        assert sorted(names_of(before)) == sorted(names_of(after))
        assert (names_of(before) == names_of(after)) == (len(before.prompt.tools) == 1) == ("+shuffled" not in after.id)


TEXT = {"type": "string", "description": "Text"}
NESTED = tool(
    "order",
    "Order `items`",
    to={"type": "object", "properties": {"city": TEXT, "zip": TEXT}, "required": ["city"], "description": "Where to"},
    items={
        "type": "array",
        "items": {"type": "object", "properties": {"sku": TEXT}},
        "default": [{"sku": "none"}],
        "description": "What",
    },
    free={"type": "object", "description": "More"},
    either={
        "type": "object",
        "properties": {"a": {}, "b": {}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "description": "One of two",
    },
)
ARGUMENTS = {
    "to": {"city": "Oslo", "zip": "0150"},
    "items": [{"sku": "x1"}, {"sku": "city"}],
    "free": {"city": "kept"},
    "either": {"a": 1},
}


def masked_order() -> Sample:
    history = (
        {"role": "user", "content": "order to city"},
        {
            "role": "assistant",
            "tool_calls": [{"name": "order", "arguments": ARGUMENTS}, {"name": "gone", "arguments": {}}],
        },
        {"role": "tool", "name": "order", "content": "order done"},
        {"role": "user", "content": "again"},
    )
    sample = Sample("a", Prompt(history, (NESTED,)), (as_answer(ToolCall("order", ARGUMENTS)),))
    assert passes(sample)
    (after,) = augmented([sample], masked_share=1)
    return after


def test_masked_names_agree_in_tools_answers_and_earlier_calls_at_every_depth() -> None:
    after = masked_order()
    assert after.id == "a+masked" and passes(after)
    (shown,) = after.prompt.tools
    (call,) = reference_calls(after)
    to, items, free, either = shown["parameters"]["properties"]
    city, postcode = shown["parameters"]["properties"][to]["properties"]
    (sku,) = shown["parameters"]["properties"][items]["items"]["properties"]
    expected = {
        to: {city: "Oslo", postcode: "0150"},
        items: [{sku: "x1"}, {sku: "city"}],
        free: {"city": "kept"},
        either: {"a": 1},
    }
    assert (call.name, call.arguments) == (shown["name"], expected)
    assert shown["parameters"]["required"] == [to, items, free, either]
    assert shown["parameters"]["properties"][to]["required"] == [city]
    assert shown["parameters"]["properties"][items]["default"] == [{sku: "none"}]
    asked, called, result, again = after.prompt.messages
    assert called["tool_calls"] == [{"name": shown["name"], "arguments": expected}, {"name": "gone", "arguments": {}}]
    assert result == {"role": "tool", "name": shown["name"], "content": "order done"}
    assert (asked["content"], again["content"], shown["description"]) == ("order to city", "again", "Order `items`")
    assert not {"order", "to", "items", "free", "either", "sku", "zip"} & {
        shown["name"],
        *expected,
        city,
        postcode,
        sku,
    }


def test_a_name_that_alone_says_what_it_is_of_is_not_masked() -> None:
    dose = {"type": "integer"}
    unit = {"type": "string", "enum": ["ml", "g"]}
    inner = {"type": "object", "description": "Both", "properties": {"milk": dose, "flour": TEXT}}
    bake, run = tool("bake", "Bakes.", dose=dose, unit=unit, oven=TEXT, of=inner), tool("run", "", far=dose)
    call = as_answer(ToolCall("bake", {"dose": 2, "unit": "g", "oven": "hot", "of": {"milk": 1, "flour": "rye"}}))
    (after,) = augmented([ask("a", "?", [bake, run], call)], masked_share=1)
    assert passes(after)
    shown, kept = after.prompt.tools
    assert kept == run and shown["name"] != "bake"
    (arguments,) = (call.arguments for call in reference_calls(after))
    assert arguments["dose"] == 2 and not {"unit", "oven", "of"} & set(arguments)
    (both,) = (value for value in arguments.values() if isinstance(value, dict))
    assert both["milk"] == 1 and "flour" not in both
    (same,) = augmented([ask("b", "?", [run], ToolCall("run", {"far": [3]}))], masked_share=1)
    assert same.id == "b", "nothing could be hidden"


@pytest.mark.parametrize("dialect", [HERMES, PYTHONIC], ids=lambda dialect: dialect.name)
def test_masked_references_can_be_written_and_read_in_every_dialect(dialect: Any) -> None:
    masked = [sample for sample in augmented(TASKS, masked_share=1) if sample.answer]
    for sample in [*masked, masked_order()]:
        assert parse(dialect, reference_text(dialect, sample)).calls == reference_calls(sample)
        names = [*names_of(sample), *(key for call in sample.answer for key in call.arguments)]
        assert all(name.isascii() and name.isidentifier() and name not in json.dumps(TASKS[0].answer) for name in names)


def test_one_mask_hides_each_name_of_a_list_behind_one_of_its_own() -> None:
    for before, after in zip(TASKS, augmented(TASKS, masked_share=1), strict=True):
        new = [key for tool in after.prompt.tools for key in (tool["name"], *tool["parameters"]["properties"])]
        old = {key for tool in before.prompt.tools for key in (tool["name"], *tool["parameters"]["properties"])}
        assert len(set(new)) == len(new) and not old & set(new)


@pytest.mark.slow
def test_the_seed_says_everything_in_every_process() -> None:
    assert augmented(TASKS, 3, **EVERYTHING) == augmented(TASKS, 3, **EVERYTHING) != augmented(TASKS, 4, **EVERYTHING)
    code = (
        "from test_augment import *; import hashlib;"
        "print(hashlib.md5(repr(augmented(TASKS, 3, **EVERYTHING)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([str(Path(__file__).parent), *filter(None, sys.path)])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_one_setting_does_not_change_what_another_draws() -> None:
    alone = {sample.id for sample in augmented(TASKS, masked_share=0.5)}
    both = {sample.id.replace("+shuffled", "") for sample in augmented(TASKS, masked_share=0.5, shuffled_share=0.5)}
    assert alone == both


def test_nothing_is_changed_by_default() -> None:
    assert not DataSettings().is_augmented
    assert augmented(TASKS) == TASKS


def test_shares_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.no_call_share, data\.parallel_share: must add up to less than 1"):
        augmented(SAMPLES, no_call_share=0.5, parallel_share=0.5)


def write_pool(path: Path, rows: list[Any]) -> str:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def test_a_pool_file_gives_tools_without_further_keys_each_name_once_and_none_held_out(tmp_path: Path) -> None:
    rows = [{**tool("send_mail"), "category": "x"}, tool("sendMail"), tool("getTides"), tool("book")]
    pool = load_pool(write_pool(tmp_path / "pool.jsonl.gz", rows), [], [ask("h", "?", [], ToolCall("get_tides", {}))])
    assert pool.tools == (tool("send_mail"), tool("book"))


@pytest.mark.parametrize("key", ["parameters", "input_schema", "inputSchema"])
def test_a_pool_may_be_in_the_form_of_openai_anthropic_or_mcp(tmp_path: Path, key: str) -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    row = {"name": "send", "description": "Send it", key: schema}
    pool = load_pool(write_pool(tmp_path / "pool.jsonl.gz", [row]), [], [])
    assert pool.tools == ({"name": "send", "description": "Send it", "parameters": schema},)


@pytest.mark.parametrize("row", [{"description": "no name"}, ["a"], {"name": "a", "parameters": 3}])
def test_a_row_that_is_no_tool_is_named(tmp_path: Path, row: Any) -> None:
    file = write_pool(tmp_path / "pool.jsonl.gz", [tool("a"), row])
    with pytest.raises(ValueError, match=r"data\.tool_pool .*pool\.jsonl\.gz: line 2: .*mend or remove the row"):
        load_pool(file, [], [])
    with pytest.raises(ValueError, match=r"data\.tool_pool .*nowhere\.jsonl: no such file"):
        load_pool("nowhere.jsonl", [], [])


def test_the_held_out_part_is_untouched_and_its_tools_do_not_get_into_train(tmp_path: Path) -> None:
    plain = build.data(Recipe.load("debug"), None)
    held = {call.name: None for sample in plain.held_out for call in sample.answer}
    pool = [tool for sample in plain.held_out for tool in sample.prompt.tools if tool["name"] in held]
    file = write_pool(tmp_path / "pool.jsonl.gz", [*pool, tool("bake_bread", "From flour, water and yeast")])
    overrides = [f"data.{key}={value}" for key, value in EVERYTHING.items() if key != "masked_share"]
    harder = build.data(Recipe.load("debug", [*overrides, f"data.tool_pool={file}"]), None)
    assert harder.held_out == plain.held_out
    shown = {name for sample in harder.train for name in names_of(sample)}
    assert "bake_bread" in shown and not shown & set(held)
    masked = build.data(Recipe.load("debug", ["data.masked_share=1"]), None)
    assert masked.held_out == plain.held_out and all("+masked" in sample.id for sample in masked.train)
