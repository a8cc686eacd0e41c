"""What rows teach beyond their form: whose results are whose, what is learnt of an answer, and think parts."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from iterft.chat import plain_messages
from iterft.completions import as_request
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.readers.forms import FORMS
from iterft.readers.parts import RowFault, as_answer
from iterft.rewards.call_match import CallMatch
from iterft.rollout import reference_calls, reference_text
from iterft.synth.rows import line_of, row_of
from iterft.types import Prompt, Sample, ToolCall, Trajectory, Turn

WEATHER = {
    "name": "weather",
    "description": "",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "default": "C"},
            "days": {"type": "integer", "default": 1},
            "alerts": {"type": "boolean", "default": False},
            "note": {"type": "string", "default": ""},
            "zone": {"type": "string", "default": None},
            "odd": {"type": "integer", "default": "three"},
            "hour": {"type": "integer"},
            "place": {"type": "string", "default": "here"},
        },
        "required": ["city", "place"],
    },
}
THINK = "<think>It is\nabout Oslo.</think>\n\n"
THOUGHT = "It is\nabout Oslo."


def read(row: dict[str, Any], form: str) -> list[Sample]:
    return FORMS[form].read(json.loads(json.dumps(row)), "7")


def call(city: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    made = {"type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city, **more})}}
    return made if name is None else {"id": name, **made}


def result(city: str, name: str | None = None) -> dict[str, Any]:
    made = {"role": "tool", "content": f"rain in {city}"}
    return made if name is None else {"tool_call_id": name, **made}


def talk(calls: list[Any], results: list[Any]) -> dict[str, Any]:
    """A conversation in OpenAI's form that ends with a reply."""
    asked = {"role": "user", "content": "Oslo, Rome and Bonn?"}
    made = {"role": "assistant", "content": None, "tool_calls": calls}
    return {"messages": [asked, made, *results, {"role": "assistant", "content": "Rain."}], "tools": [WEATHER]}


def as_own(row: dict[str, Any]) -> dict[str, Any]:
    *before, last = row["messages"]
    messages = [dict(message) for message in before]
    for message in messages:
        if "tool_calls" in message:
            message["tool_calls"] = [
                {**each, "name": "weather", "arguments": json.loads(each["function"]["arguments"])}
                for each in message["tool_calls"]
            ]
    return {"id": "a", "messages": messages, "tools": [WEATHER], "answer": [], "text": last["content"]}


FORMS_WITH_IDS = {"openai": lambda row: row, "own": as_own}
THREE = [call("Oslo", "c1"), call("Rome", "c2"), call("Bonn", "c3")]
OF_THREE = [result("Oslo", "c1"), result("Rome", "c2"), result("Bonn", "c3")]


def shown_results(sample: Sample) -> list[str]:
    return [message["content"] for message in sample.prompt.messages if message["role"] == "tool"]


@pytest.mark.parametrize("form", FORMS_WITH_IDS)
def test_results_are_put_in_the_order_of_their_calls(form: str) -> None:
    for results in permutations(OF_THREE):
        sample = read(FORMS_WITH_IDS[form](talk(THREE, list(results))), form)[-1]
        assert shown_results(sample) == ["rain in Oslo", "rain in Rome", "rain in Bonn"]
        request = as_request(sample.prompt.messages, ())["messages"]
        names = [each["id"] for each in request[1]["tool_calls"]]
        assert [each["tool_call_id"] for each in request[2:]] == names
    assert "rain in Oslo" in plain_messages(HERMES, sample.prompt)[-1]["content"].split("</tool_response>")[0]


@pytest.mark.parametrize("form", FORMS_WITH_IDS)
def test_results_without_ids_stay_where_they_are(form: str) -> None:
    bare = [result(city) for city in ("Rome", "Oslo", "Bonn")]
    for calls, results in (
        ([call(city) for city in ("Oslo", "Rome", "Bonn")], bare),
        (THREE, bare),
        ([call(city, "c1") for city in ("Oslo", "Rome", "Bonn")], [OF_THREE[0], *bare[1:]]),
    ):
        sample = read(FORMS_WITH_IDS[form](talk(calls, results)), form)[-1]
        assert shown_results(sample) == [each["content"] for each in results]
    mixed = [result("Bonn"), OF_THREE[1], result("Oslo")]
    sample = read(FORMS_WITH_IDS[form](talk(THREE, mixed)), form)[-1]
    assert shown_results(sample) == ["rain in Bonn", "rain in Rome", "rain in Oslo"]


@pytest.mark.parametrize("form", FORMS_WITH_IDS)
@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([OF_THREE[0], result("Rome", "c9")], "a result of an unknown call"),
        ([OF_THREE[0], OF_THREE[0]], "two results of one call"),
        ([OF_THREE[2], OF_THREE[0]], "a result behind a call without one"),
    ],
)
def test_results_that_are_of_no_call_are_a_fault(form: str, results: list[Any], reason: str) -> None:
    with pytest.raises(RowFault) as caught:
        read(FORMS_WITH_IDS[form](talk(THREE, results)), form)
    assert caught.value.reason == reason


def test_calls_in_two_turns_in_a_row_are_those_of_one() -> None:
    row = talk([THREE[0]], [OF_THREE[1], OF_THREE[0]])
    row["messages"].insert(2, {"role": "assistant", "content": "", "tool_calls": [THREE[1]]})
    assert shown_results(read(row, "openai")[-1]) == ["rain in Oslo", "rain in Rome"]


def test_the_ids_of_openai_rows_are_not_in_the_prompt() -> None:
    sample = read(talk(THREE, OF_THREE), "openai")[-1]
    assert "c1" not in json.dumps(sample.prompt.messages) and "id" not in sample.prompt.messages[1]["tool_calls"][0]


def own_row(accepted: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": True}}],
        "answer": [{"name": "f", "arguments": arguments}],
        "accepted": [{"name": "f", "arguments": accepted}],
    }


LEARNT_AS_WRITTEN = [
    ({"x": ["oslo, norway", "Oslo"]}, {"x": "Oslo"}),
    ({"x": ["Oslo", ""]}, {"x": "Oslo"}),
    ({"x": ["", "Oslo"]}, {"x": "Oslo"}),
    ({"x": ["Oslo", ""]}, {}),
    ({"x": [""]}, {}),
    ({"x": [""]}, {"x": ""}),
    ({"x": [1.0, 2]}, {"x": 1}),
    ({"x": [{"city": ["Rome", "Oslo"], "unit": ["C", ""]}]}, {"x": {"city": "Oslo"}}),
    ({"x": [{"city": ["Rome"]}, {"city": ["Oslo"], "unit": ["C", ""]}]}, {"x": {"unit": "C", "city": "Oslo"}}),
    ({"x": [[{"a": [2, 1]}, {"a": ["", 3]}], ""]}, {"x": [{"a": 1}, {"a": 3}]}),
    ({"x": [{"deep": [{"city": "Rome"}, {"city": "Oslo"}]}]}, {"x": {"deep": {"city": "Oslo"}}}),
    ({"x": [[[{"a": 1}], None]]}, {"x": [[{"a": 1}], None]}),
]


@pytest.mark.parametrize(("accepted", "written"), LEARNT_AS_WRITTEN)
def test_what_is_learnt_is_the_answer_as_it_is_written(accepted: dict[str, Any], written: dict[str, Any]) -> None:
    (sample,) = read(own_row(accepted, **written), "own")
    assert repr(reference_calls(sample)) == repr((ToolCall("f", written),))
    assert CallMatch()(Trajectory(sample, (Turn("", reference_calls(sample)),))).value == 1.0
    assert read(json.loads(line_of(row_of(sample))), "own") == [sample]
    (kept,) = sample.answer
    assert {key: len(values) for key, values in kept.arguments.items()} == {
        key: len(values) for key, values in accepted.items() if written or values != [""]
    }


def test_true_is_not_among_the_values_of_1() -> None:
    with pytest.raises(RowFault, match="not among"):
        read(own_row({"x": [1]}, x=True), "own")


OWN_DEFAULTS = {"unit": ["", "C"], "days": ["", 1], "alerts": ["", False]}


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ({"city": "Oslo"}, {"city": ["Oslo"], **OWN_DEFAULTS}),
        ({"city": "Oslo", "unit": "C"}, {**OWN_DEFAULTS, "city": ["Oslo"], "unit": ["C", ""]}),
        ({"city": "Oslo", "unit": "F"}, {**OWN_DEFAULTS, "city": ["Oslo"], "unit": ["F"]}),
        ({"days": 1, "alerts": True}, {"unit": ["", "C"], "days": [1, ""], "alerts": [True]}),
        (
            {"note": "", "zone": None, "odd": 3, "hour": 4},
            {**OWN_DEFAULTS, "note": [""], "zone": [None], "odd": [3], "hour": [4]},
        ),
        ({"place": "here"}, {**OWN_DEFAULTS, "place": ["here"]}),
    ],
)
def test_a_declared_default_may_be_written_or_left_out(written: dict[str, Any], answer: dict[str, Any]) -> None:
    made = ToolCall("weather", written)
    assert as_answer(made, [WEATHER]) == ToolCall("weather", answer)
    assert as_answer(made) == ToolCall("weather", {key: [value] for key, value in written.items()})


UNITS = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "default": "C"}},
        "required": ["city"],
    },
}


def test_readers_know_the_defaults_and_learn_what_is_written() -> None:
    asked = [{"role": "user", "content": "q"}]
    flat = {"city": {"type": "str"}, "unit": {"type": "str, optional", "default": "C"}}
    xlam_tools = json.dumps([{"name": "weather", "description": "", "parameters": flat}])
    for arguments in ({"city": "Oslo", "unit": "C"}, {"city": "Oslo"}):
        made = [{"name": "weather", "arguments": arguments}]
        rows = {
            "own": {"id": "a", "messages": asked, "tools": [UNITS], "answer": made},
            "openai": {"messages": [*asked, {"role": "assistant", "tool_calls": made}], "tools": [UNITS]},
            "xlam": {"query": "q", "tools": xlam_tools, "answers": json.dumps(made)},
        }
        for form, row in rows.items():
            (sample,) = read(row, form)
            assert reference_calls(sample) == (ToolCall("weather", arguments),)
            for other in ({"city": "Oslo", "unit": "C"}, {"city": "Oslo"}):
                turn = Turn("", (ToolCall("weather", other),))
                assert CallMatch()(Trajectory(sample, (turn,))).value == 1.0
            wrong = Turn("", (ToolCall("weather", {"city": "Oslo", "unit": "F"}),))
            assert CallMatch()(Trajectory(sample, (wrong,))).value == 0.0


ASKED = {"from": "human", "value": "Oslo?"}
MADE = {"name": "weather", "arguments": {"city": "Oslo"}}
SYSTEM = {"from": "system", "value": f"<tools>{json.dumps([WEATHER])}</tools>"}
CALLS_AND_WORDS = {
    "openai": [{"content": THINK, "tool_calls": [call("Oslo")]}, {"content": f"{THINK}No."}],
    "xlam": [THINK + json.dumps([MADE]), f"{THINK}No."],
    "sharegpt": [
        {"from": "function_call", "value": THINK + json.dumps(MADE)},
        {"from": "gpt", "value": f"{THINK}No."},
    ],
    "hermes": [f"{THINK}<tool_call>\n{json.dumps(MADE)}\n</tool_call>", f"{THINK}No."],
    "toolace": [f"{THINK}[weather(city='Oslo')]", f"{THINK}No."],
    "glaive": [f"{THINK}<functioncall> {json.dumps(MADE)}", f"{THINK}No."],
}
"""What the assistant says: a call, and words."""


def thinking_row(form: str, said: Any) -> dict[str, Any]:
    match form:
        case "openai":
            return {
                "messages": [{"role": "user", "content": "Oslo?"}, {"role": "assistant", **said}],
                "tools": [WEATHER],
            }
        case "xlam":
            return {"query": "Oslo?", "tools": json.dumps([WEATHER]), "answers": said}
        case "sharegpt":
            return {"conversations": [ASKED, said], "tools": [WEATHER]}
        case "hermes":
            return {"conversations": [SYSTEM, ASKED, {"from": "gpt", "value": said}]}
        case "toolace":
            return {"system": json.dumps([WEATHER]), "conversations": [ASKED, {"from": "gpt", "value": said}]}
        case _:
            chat = f"USER: Oslo?\nASSISTANT: {said} <|endoftext|>"
            return {"system": f"SYSTEM: {json.dumps(WEATHER)}", "chat": chat}


@pytest.mark.parametrize("form", CALLS_AND_WORDS)
def test_a_think_part_becomes_the_thought_and_is_learnt_only_where_the_dialect_thinks(form: str) -> None:
    (calling,), (replying,) = (read(thinking_row(form, said), form) for said in CALLS_AND_WORDS[form])
    assert (calling.thought, replying.thought, replying.text) == (THOUGHT, THOUGHT, "No.")
    assert reference_calls(calling) == (ToolCall("weather", {"city": "Oslo"}),)
    assert "think" not in reference_text(PYTHONIC, calling) + reference_text(PYTHONIC, replying)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_what_a_turn_thought_may_stand_beside_its_content(key: str) -> None:
    (calling,) = read(thinking_row("openai", {"content": None, "tool_calls": [call("Oslo")], key: THOUGHT}), "openai")
    (replying,) = read(thinking_row("openai", {"content": "No.", key: THOUGHT}), "openai")
    (both,) = read(thinking_row("openai", {"content": f"{THINK}No.", key: "other"}), "openai")
    assert (calling.thought, replying.thought, both.thought) == (THOUGHT,) * 3
    assert (calling.answer[0].name, replying.text, both.text) == ("weather", "No.", "No.")
    with pytest.raises(RowFault, match="reasoning that is no text"):
        read(thinking_row("openai", {"content": "No.", key: [1]}), "openai")


def test_a_turn_of_weight_0_is_shown_and_not_learnt() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello.", "weight": 0}]
    more = [{"role": "user", "content": "Oslo?"}, {"role": "assistant", "content": "No.", "weight": 1}]
    (sample,) = read({"messages": [*said, *more], "tools": [WEATHER]}, "openai")
    assert (sample.id, sample.text) == ("7/1", "No.")
    assert sample.prompt.messages[1] == {"role": "assistant", "content": "Hello."}
    with pytest.raises(RowFault, match="no assistant turn to learn"):
        read({"messages": said, "tools": [WEATHER]}, "openai")
    with pytest.raises(RowFault, match="a weight other than 0 and 1"):
        read({"messages": [*said, *more[:1], {**more[1], "weight": 2}], "tools": [WEATHER]}, "openai")


def test_earlier_turns_keep_no_think_part() -> None:
    turns = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": THINK, "tool_calls": [call("Oslo")]},
    ]
    turns += [
        result("Oslo"),
        {"role": "assistant", "content": f"{THINK}Rain."},
        {"role": "user", "content": "<think>Thanks"},
    ]
    row = {"messages": [*turns, {"role": "assistant", "content": "Welcome."}], "tools": [WEATHER]}
    first, second, third = read(row, "openai")
    assert (first.thought, second.thought, second.text, third.thought) == (THOUGHT, THOUGHT, "Rain.", "")
    assert [each["content"] for each in third.prompt.messages] == [
        "Oslo?",
        "",
        "rain in Oslo",
        "Rain.",
        "<think>Thanks",
    ]
    (own,) = read(as_own(row) | {"text": f"{THINK}Welcome."}, "own")
    assert own.prompt.messages[3]["content"] == "Rain." and (own.thought, own.text) == (THOUGHT, "Welcome.")
    (own,) = read(as_own(row) | {"text": f"{THINK}Welcome.", "thought": "mine"}, "own")
    assert (own.thought, own.text) == ("mine", "Welcome.")


def test_an_empty_think_part_is_no_thought_and_one_alone_is_no_turn() -> None:
    row = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\n\n</think>\n\nHi."}]
    }
    (sample,) = read({**row, "tools": [WEATHER]}, "openai")
    assert (sample.thought, sample.text) == ("", "Hi.")
    row["messages"][1]["content"] = THINK
    with pytest.raises(RowFault, match="an empty assistant turn"):
        read({**row, "tools": [WEATHER]}, "openai")


def test_leaving_out_comes_first_or_is_only_allowed() -> None:
    calls = (ToolCall("f", {"x": ["", 1], "y": [1, ""], "z": [""], "w": [{"a": ["", 1], "b": [1, ""], "c": [""]}]}),)
    sample = Sample("s", Prompt((), ()), calls)
    assert reference_calls(sample) == (ToolCall("f", {"y": 1, "z": "", "w": {"b": 1, "c": ""}}),)
