"""Every form is read back as it was written, and every malformed row is refused by its reason."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from forms import CONVERSATIONS, LOOK, MULTI_TURN, NESTED, WRITERS, Conversation, said, suitable
from hypothesis import given, settings
from hypothesis import strategies as st

from iterft.chat import plain_messages
from iterft.config import DataSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.readers.forms import FORMS, form_of
from iterft.readers.parts import RowFault, as_answer, parse_json, read_call, read_tools
from iterft.readers.schema import json_schema, parameters_schema, type_schema
from iterft.readers.toolace import stand_ins
from iterft.rewards.call_match import CallMatch
from iterft.rollout import reference_calls, reference_text
from iterft.types import Sample, ToolCall, Trajectory, Turn

PUBLISHED = [form for form in WRITERS if form != "own"]


def read(row: dict[str, Any], form: str) -> list[Sample]:
    return FORMS[form].read(json.loads(json.dumps(row)), "7")


def decisions(conversation: Conversation) -> list[tuple[tuple, tuple[ToolCall, ...], str]]:
    """(messages before, answer, text) of each turn of the assistant."""
    found = []
    for at, message in enumerate(conversation.messages):
        if message["role"] == "assistant":
            calls = tuple(
                as_answer(ToolCall(call["name"], call["arguments"])) for call in message.get("tool_calls", ())
            )
            found.append((conversation.messages[:at], calls, "" if calls else message["content"]))
    return found


def without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


def test_there_are_enough_conversations_of_every_sort() -> None:
    answers = [answer for conversation in CONVERSATIONS for _, answer, _ in decisions(conversation)]
    assert min(len(suitable(form)) for form in WRITERS) >= 40
    assert sum(len(answer) > 1 for answer in answers) >= 10 and sum(not answer for answer in answers) >= 10
    assert sum(conversation.num_decisions > 1 for conversation in CONVERSATIONS) >= 3


@pytest.mark.parametrize("form", PUBLISHED)
def test_what_is_written_in_a_form_is_read_back_equal(form: str) -> None:
    for conversation in suitable(form):
        samples = read(WRITERS[form](conversation), form)
        found = [(sample.prompt.messages, sample.answer, sample.text) for sample in samples]
        assert found == decisions(conversation)
        assert [sample.id for sample in samples] == [f"7/{turn + 1}" for turn in range(len(samples))]
        assert {sample.source for sample in samples} == {form}
        for sample in samples:
            assert list(sample.prompt.tools) == list(conversation.tools)


def test_our_own_form_is_read_back_equal() -> None:
    for conversation in CONVERSATIONS:
        (sample,) = read({"id": "a", **WRITERS["own"](conversation)}, "own")
        assert (sample.prompt.messages, sample.answer, sample.text) == decisions(conversation)[-1]
        assert (sample.id, sample.prompt.tools) == ("a", conversation.tools)


@pytest.mark.parametrize("form", WRITERS)
def test_the_reference_of_every_sample_passes_the_verifier_and_every_prompt_can_be_shown(form: str) -> None:
    for conversation in suitable(form):
        for sample in read({"id": "a", **WRITERS[form](conversation)}, form):
            turn = Turn("" if sample.answer else sample.text, reference_calls(sample))
            assert CallMatch()(Trajectory(sample, (turn,))).value == 1.0
            for dialect in (HERMES, PYTHONIC):
                assert plain_messages(dialect, sample.prompt)[-1]["role"] in ("user", "assistant")


@pytest.mark.parametrize("form", WRITERS)
def test_a_row_is_told_to_be_of_its_form(form: str) -> None:
    assert {form_of(WRITERS[form](conversation)) for conversation in suitable(form)} == {form}
    assert form_of({"text": "x"}) == ""


def test_the_recipe_offers_every_form() -> None:
    (setting,) = (entry for entry in fields(DataSettings) if entry.name == "form")
    assert setting.metadata["rule"][0].removeprefix("must be one of ").split(", ") == ["auto", *FORMS]


@pytest.mark.parametrize("form", PUBLISHED)
def test_ids_are_the_rows_own_or_its_number_and_the_source_is_the_rows_own_or_its_form(form: str) -> None:
    row = WRITERS[form](NESTED[0])
    (sample,) = read({**row, "id": 0, "source": "mine"}, form)
    assert (sample.id, sample.source) == ("0/1", "mine")
    assert read({**row, "id": None}, form)[0].id == "7/1"


def edited(form: str, edit: Callable[[dict[str, Any]], Any], conversation: Conversation = MULTI_TURN[0]) -> Any:
    row = copy.deepcopy(WRITERS[form](conversation))
    return edit(row) or row


ONE = NESTED[0]
NO_NAME = json.dumps([{"description": "d"}])
TURNS = {"openai": ("messages", "role", "content"), "sharegpt": ("conversations", "from", "value")}
TURNS |= dict.fromkeys(("hermes", "toolace"), TURNS["sharegpt"])


def turns_faults() -> list[tuple[str, Any, str]]:
    """What can be wrong with the turns of any form that lists them."""
    faults = []
    for form, (key, role, text) in TURNS.items():
        human = {"openai": "user", "toolace": "user"}.get(form, "human")
        robot = {"openai": "assistant", "toolace": "assistant"}.get(form, "gpt")
        result = "observation" if form == "sharegpt" else "tool"
        shown = edited(form, lambda row: None)[key][:1] if form == "hermes" else []
        speakerless = "a message without a role" if form == "openai" else "a turn without a speaker"
        for turns, reason in (
            (shown, "an empty conversation" if not shown else "no assistant turn after a user's"),
            ([*shown, {role: "narrator", text: "x"}], "unknown role"),
            ([*shown, {role: 3, text: "x"}], "unknown role"),
            ([*shown, {text: "x"}], speakerless),
            ([*shown, "x"], speakerless),
            ([*shown, {role: human, text: "x"}], "no assistant turn after a user's"),
            ([*shown, {role: robot, text: "x"}], "no assistant turn after a user's"),
            ([*shown, {role: human, text: "x"}, {role: robot, text: " "}], "an empty assistant turn"),
            ([*shown, {role: human, text: "x"}, {role: result, text: "x"}], "a tool's result without a call"),
        ):
            row = edited(form, lambda row, key=key, turns=turns: {**row, key: turns})
            # a system turn is no message of its own in hermes, so nothing is left of a row that has only that
            if form == "hermes" and turns is shown:
                reason = "an empty conversation"
            faults.append((form, row, reason))
        faults.append((form, edited(form, lambda row, key=key: {**row, key: 5}), f"'{key}' missing or not a list"))
    return faults


def tools_faults() -> list[tuple[str, Any, str]]:
    """What can be wrong with the tools of the forms that keep them in a key."""
    return [
        (form, edited(form, lambda row, tools=tools: {**row, "tools": tools}, ONE), reason)
        for form in ("openai", "xlam", "sharegpt")
        for tools, reason in (
            ("{not", "tools not JSON"),
            ("5", "'tools' missing or not a list"),
            ("[]", "no tools"),
            (None, "no tools"),
            (NO_NAME, "a tool without a name"),
            ('[{"name": ""}]', "a tool without a name"),
            ('["f"]', "a tool without a name"),
            ('[{"name": "f", "parameters": [1]}]', "a tool whose parameters are no schema"),
            (
                '[{"name": "f", "parameters": {"type": "object", "properties": 3}}]',
                "a tool whose parameters are no schema",
            ),
            ('[{"name": "f", "description": NaN}]', "tools not JSON"),
            ('[{"name": "f", "description": "\\ud800"}]', "tools not JSON"),
        )
    ]


def calls_faults() -> list[tuple[str, Any, str]]:
    """What can be wrong with a call, in each way of writing one."""
    faults = []
    for call, reason in (
        ({"arguments": {}}, "a call without a name"),
        ({"name": "", "arguments": {}}, "a call without a name"),
        ("f", "a call without a name"),
        ({"name": "f", "arguments": [1]}, "a call whose arguments are no object"),
        ({"name": "f", "arguments": "[1]"}, "a call whose arguments are no object"),
        ({"name": "f", "arguments": "{'a': 1}"}, "a call's arguments not JSON"),
    ):
        asked = {"role": "user", "content": "x"}
        messages = [asked, {"role": "assistant", "tool_calls": [call]}]
        turns = [{"from": "human", "value": "x"}, {"from": "function_call", "value": json.dumps([call])}]
        faults += [
            ("openai", edited("openai", lambda row, messages=messages: {**row, "messages": messages}), reason),
            ("xlam", edited("xlam", lambda row, call=call: {**row, "answers": json.dumps([call])}, ONE), reason),
            ("sharegpt", edited("sharegpt", lambda row, turns=turns: {**row, "conversations": turns}), reason),
        ]
    return faults


def answered(form: str, text: str) -> dict[str, Any]:
    """A row in which the assistant answers with `text`."""
    return WRITERS[form](Conversation((LOOK,), (said("user", "x"), said("assistant", text))))


def system_of(row: dict[str, Any], text: str) -> dict[str, Any]:
    return {**without(row, "tools"), "conversations": [{"from": "system", "value": text}, *row["conversations"][1:]]}


def openai_turn(**turn: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", **turn}], "tools": [LOOK]}


def hermes_call(text: str) -> dict[str, Any]:
    return answered("hermes", f"<tool_call>\n{text}\n</tool_call>")


def glaive_call(name: str, arguments: str) -> dict[str, Any]:
    return answered("glaive", f'<functioncall> {{"name": {json.dumps(name)}, "arguments": \'{arguments}\'}}')


HERMES_ROW, TOOLACE_ROW, GLAIVE_ROW = (WRITERS[form](ONE) for form in ("hermes", "toolace", "glaive"))
OWN_FAULTS = [
    ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown role"),
    ({"messages": [{"role": [], "content": "x"}]}, "unknown role"),
    ({"messages": [{"role": "user", "content": 3}]}, "a message whose content is no text"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"arguments": {}}]}]}, "a call without a name"),
    ({"messages": [{"role": "assistant", "tool_calls": 3}]}, "'tool_calls' not a list"),
    ({"tools": [{"name": "f", "parameters": {"required": None}}]}, "a tool whose parameters are no schema"),
    ({"text": 3}, "'text' not a string or 'env_config' not an object"),
    ({"env_config": [1]}, "'text' not a string or 'env_config' not an object"),
]
OTHER_FAULTS = [
    ("openai", {**WRITERS["openai"](ONE), "messages": "[x"}, "'messages' not JSON"),
    ("openai", openai_turn(content=[{"type": "image"}]), "a message whose content is no text"),
    ("openai", openai_turn(tool_calls=[{}]), "'tool_calls' not a list, or not the assistant's"),
    ("openai", openai_turn(function_call={"name": "f"}), "a call in the old 'function_call'"),
    ("xlam", {**WRITERS["xlam"](ONE), "query": " "}, "'query' missing or empty"),
    ("xlam", {**WRITERS["xlam"](ONE), "answers": "[{]"}, "'answers' not JSON"),
    ("xlam", {**WRITERS["xlam"](ONE), "answers": 5}, "'answers' missing or not a list"),
    ("sharegpt", {"conversations": [{"from": "function_call", "value": "f()"}], "tools": [LOOK]}, "a call not JSON"),
    ("hermes", hermes_call('{"name": "f", "arguments": [1]}'), "an unparsable call"),
    ("hermes", answered("hermes", '<tool_call>\n{"name": "f", "arguments": {}'), "an unparsable call"),
    ("hermes", hermes_call("f(x=1)"), "an unparsable call"),
    ("hermes", hermes_call("{'name': 'f', 'arguments': {1, 2}}"), "an unparsable call"),
    ("hermes", system_of(HERMES_ROW, "Answer in JSON."), "no tools"),
    ("hermes", system_of(HERMES_ROW, "<tools> [{x}] </tools>"), "tools not JSON"),
    ("hermes", system_of(HERMES_ROW, "<tools> [{'function': {}}] </tools>"), "a tool without a name"),
    ("toolace", answered("toolace", "[look_up('naive')]"), "an unparsable call"),
    ("toolace", answered("toolace", "[look_up(word='x')] Done."), "an unparsable call"),
    ("toolace", answered("toolace", "[Look It Up(word='x')]"), "an unparsable call"),
    ("toolace", {**TOOLACE_ROW, "system": None}, "'system' missing or no text"),
    ("toolace", {**TOOLACE_ROW, "system": "Be kind."}, "no tools"),
    ("toolace", {**TOOLACE_ROW, "system": 'Tools: [{"name": "f", ]'}, "tools not JSON"),
    ("toolace", {**TOOLACE_ROW, "system": f"Tools: {NO_NAME}"}, "a tool without a name"),
    ("glaive", {**GLAIVE_ROW, "chat": None}, "'system' or 'chat' missing or no text"),
    ("glaive", {**GLAIVE_ROW, "system": "SYSTEM: You are helpful."}, "no tools"),
    ("glaive", {**GLAIVE_ROW, "system": None}, "no tools"),
    ("glaive", {**GLAIVE_ROW, "system": 'SYSTEM: - {"name": "f"} and'}, "tools not JSON"),
    ("glaive", {**GLAIVE_ROW, "system": 'SYSTEM: - {"description": "f"}'}, "a tool without a name"),
    ("glaive", {**GLAIVE_ROW, "chat": ""}, "an empty conversation"),
    ("glaive", {**GLAIVE_ROW, "chat": "Hi. USER: x ASSISTANT: y"}, "text before the first speaker"),
    ("glaive", {**GLAIVE_ROW, "chat": "USER: <functioncall> {} ASSISTANT: y"}, "a call that is not the assistant's"),
    ("glaive", {**GLAIVE_ROW, "chat": "USER: x ASSISTANT: y FUNCTION RESPONSE: {}"}, "a tool's result without a call"),
    ("glaive", answered("glaive", "<functioncall> f(x=1)"), "a call not JSON"),
    ("glaive", glaive_call("f", "{x}"), "a call's arguments not JSON"),
    ("glaive", glaive_call("f", "[1]"), "a call whose arguments are no object"),
    ("glaive", glaive_call("", "{}"), "a call without a name"),
]


@pytest.mark.parametrize(
    ("form", "row", "reason"),
    [
        *turns_faults(),
        *tools_faults(),
        *calls_faults(),
        *(("own", {"id": "a", **WRITERS["own"](ONE), **changes}, reason) for changes, reason in OWN_FAULTS),
        *OTHER_FAULTS,
    ],
)
def test_a_malformed_row_is_refused_by_its_reason(form: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowFault) as caught:
        read(row, form)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_one_malformed_turn_refuses_the_whole_conversation() -> None:
    row = WRITERS["sharegpt"](MULTI_TURN[0])
    assert len(read(row, "sharegpt")) == 4
    row["conversations"][6]["value"] = "take_note()"
    with pytest.raises(RowFault, match="a call not JSON"):
        read(row, "sharegpt")


def test_what_the_assistant_says_in_a_row_is_one_turn() -> None:
    call = json.dumps({"name": "look_up", "arguments": {"word": "x"}})
    turns = [("human", "x"), ("gpt", "Let me see."), ("function_call", call), ("function_call", call)]
    turns += [("observation", "1"), ("observation", "2"), ("gpt", "Done.")]
    row = {"conversations": [{"from": a, "value": b} for a, b in turns], "tools": json.dumps([LOOK])}
    first, second = read(row, "sharegpt")
    assert (len(first.answer), first.text, len(first.prompt.messages)) == (2, "", 1)
    assert second.prompt.messages[1]["content"] == "Let me see." and len(second.prompt.messages[1]["tool_calls"]) == 2


def test_a_greeting_before_the_user_has_spoken_is_context_only() -> None:
    greeted = Conversation((LOOK,), (said("assistant", "Hi!"), said("user", "x"), said("assistant", "No.")))
    for form in ("openai", "sharegpt", "hermes", "toolace", "glaive"):
        (sample,) = read(WRITERS[form](greeted), form)
        assert (sample.id, sample.text, sample.prompt.messages[0]["content"]) == ("7/1", "No.", "Hi!")


def test_a_policy_is_kept_and_instructions_on_how_to_call_are_not_but_for_the_date() -> None:
    row = WRITERS["sharegpt"](ONE)
    assert read({**row, "system": "Refunds only before 24 h."}, "sharegpt")[0].prompt.messages[0] == {
        "role": "system",
        "content": "Refunds only before 24 h.",
    }
    dated = {**TOOLACE_ROW, "system": TOOLACE_ROW["system"] + "\nToday is 2024-07-22, Monday.\nNo other text."}
    (sample,) = read(dated, "toolace")
    assert sample.prompt.messages[0] == {"role": "system", "content": "Today is 2024-07-22, Monday."}


def test_toolace_names_that_the_dialect_cannot_write_are_read_and_kept() -> None:
    names = ("Market Trends API", "Market Trends", "plain", "f(x)")
    tools = [{**LOOK, "name": name} for name in names]
    assert set(stand_ins(tools)) == {names[0], names[1], names[3]}
    text = "[Market Trends API(word='a'), Market Trends(word=\"[plain]\"), plain(), f(x)(limit=1)]"
    turns = [{"from": "user", "value": "x"}, {"from": "assistant", "value": text}]
    row = {"system": json.dumps(tools), "conversations": turns}
    (sample,) = read(row, "toolace")
    assert [call.name for call in sample.answer] == list(names)
    assert sample.answer[1].arguments == {"word": ["[plain]"]}
    turns[1]["value"] = "[Market Trends API(word='see [Market Trends(x)]')]"
    with pytest.raises(RowFault, match="inside an argument"):
        read(row, "toolace")


def test_hermes_may_write_python_literals() -> None:
    system = f"<tools> {[{'type': 'function', 'function': LOOK}]} </tools>"
    call = "<tool_call>\n{'arguments': {'word': \"it's\", 'limit': None}, 'name': 'look_up'}\n</tool_call>"
    turns = [("system", system), ("human", "x"), ("gpt", f"So.\n{call}\n{call}")]
    (sample,) = read({"conversations": [{"from": a, "value": b} for a, b in turns]}, "hermes")
    assert sample.prompt.tools == (LOOK,)
    assert sample.answer == (ToolCall("look_up", {"word": ["it's"], "limit": [None]}),) * 2
    one_a_line = f"<tools>\n{json.dumps(LOOK)}\n{json.dumps(LOOK)}\n</tools>"
    assert len(read(system_of(HERMES_ROW, one_a_line), "hermes")[0].prompt.tools) == 2


def test_glaive_is_read_on_one_line_and_with_plain_arguments() -> None:
    chat = 'USER: a ASSISTANT: So: <functioncall> {"name": "look_up", "arguments": {"word": "x"}} <|endoftext|> '
    chat += 'FUNCTION RESPONSE: {"USER": 1} ASSISTANT: b <|endoftext|>'
    first, second = read({**GLAIVE_ROW, "chat": chat}, "glaive")
    assert (first.answer, second.text) == ((ToolCall("look_up", {"word": ["x"]}),), "b")
    assert [message["content"] for message in second.prompt.messages] == ["a", "So:", '{"USER": 1}']


def test_openai_lists_may_be_strings_and_content_may_be_parts() -> None:
    row = WRITERS["openai"](MULTI_TURN[0])
    packed = {key: json.dumps(value) for key, value in row.items()}
    assert read(packed, "openai") == read(row, "openai")
    row["messages"][0]["content"] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(row, "openai")[0].prompt.messages[0]["content"] == "ab"


def test_xlam_without_a_fitting_tool_is_prose_or_an_empty_list() -> None:
    row = WRITERS["xlam"](ONE)
    (sample,) = read({**row, "answers": "No tool can do that."}, "xlam")
    assert (sample.answer, sample.text) == ((), "No tool can do that.")
    (sample,) = read({**row, "answers": "[]"}, "xlam")
    assert (sample.id, sample.answer, sample.text) == ("7/1", (), "")


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("Optional[float]", {"type": "number"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[List[str]], optional", {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}}),
        ("Tuple[str, int]", {"type": "array"}),
        ("typing.Dict[str, List[int]]", {"type": "object"}),
        ("Union[int, float]", {"type": "number"}),
        ("Union[str, None]", {"type": "string"}),
        ("Union[str, int]", {}),
        ("Callable[[float], float]", {}),
        ("any", {}),
        ("list", {"type": "array"}),
        ("", {}),
        ("List[", {"type": "array"}),
    ],
)
def test_types_in_words_and_in_python_become_json_schema(written: str, schema: dict[str, Any]) -> None:
    assert type_schema(written) == schema


def test_nulls_that_exports_write_are_as_if_nothing_was_said() -> None:
    exported = {"type": "object", "required": None, "properties": {
        "city": {"type": "string", "enum": None, "minLength": None, "properties": None, "items": None, "default": None},
        "days": None,
    }}  # fmt: skip
    assert parameters_schema(exported) == {
        "type": "object",
        "properties": {"city": {"type": "string", "properties": {}, "default": None}},
    }
    assert parameters_schema({"type": "object", "properties": None}) == {"type": "object", "properties": {}}
    (sample,) = read({**own_row({"x": [1]}, x=1), "kind": None, "source": None}, "own")
    assert (sample.kind, sample.source) == ("", "")


@pytest.mark.parametrize("key", ["arguments", "parameters", "input", "args"])
def test_arguments_may_stand_under_the_keys_of_other_makers(key: str) -> None:
    assert read_call({"name": "f", key: {"a": 1}, "id": "x"}) == ToolCall("f", {"a": 1})
    assert read_call({"name": "f", "arguments": None, key: '{"a": 1}'}) == ToolCall("f", {"a": 1})
    with pytest.raises(RowFault, match="a call whose arguments are no object"):
        read_call({"name": "f", key: [1]})


@pytest.mark.parametrize("key", ["parameters", "input_schema", "inputSchema"])
def test_tools_may_be_those_of_other_makers(key: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    (tool,) = read_tools([{"name": "f", "description": "d", key: schema}])
    assert tool == {"name": "f", "description": "d", "parameters": schema}
    with pytest.raises(RowFault, match="a tool whose parameters are no schema"):
        read_tools([{"name": "f", key: [1]}])


def test_flat_parameters_become_a_schema_and_schemas_stay() -> None:
    flat = {
        "type": {"type": "str", "description": "Kind", "default": "game"},
        "ids": {"type": "List[int]"},
        "tag": {"type": "str, optional", "default": ""},
    }
    assert parameters_schema(flat) == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "description": "Kind", "default": "game"},
            "ids": {"type": "array", "items": {"type": "integer"}},
            "tag": {"type": "string"},
        },
        "required": ["ids"],
    }
    assert parameters_schema(LOOK["parameters"]) == LOOK["parameters"]
    assert json_schema({"type": ["string", "null"], "required": True}) == {"type": ["string", "null"]}
    assert parameters_schema({}) == {"type": "object", "properties": {}}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["[f(x)]", "<tool_call>", "{}", "[]", "user", "gpt", "tool", "USER: x", '{"name": "f"}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_row_with_anything_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(WRITERS)))
    row = {"id": "a", **WRITERS[form](data.draw(st.sampled_from([*NESTED, *(MULTI_TURN if form != "xlam" else ())])))}
    row = json.loads(json.dumps(row))
    for key in ("tools", "answers"):
        if isinstance(row.get(key), str) and row[key][:1] == "[" and data.draw(st.booleans()):
            row[key] = json.loads(row[key])
    at: Any = row
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.integers(0, 3)) == 0:
            break
        at = at[key]
    at[key] = data.draw(ANYTHING)
    try:
        samples = FORMS[form].read(row, "7")
    except RowFault:
        return
    for sample in samples:
        json.dumps([dict(tool) for tool in sample.prompt.tools])
        CallMatch()(Trajectory(sample, (Turn("", reference_calls(sample)),)))
        plain_messages(HERMES, sample.prompt)
        reference_text(HERMES, sample)


def own_row(accepted: Any, **arguments: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
        "answer": [{"name": "f", "arguments": arguments}],
        "accepted": [{"name": "f", "arguments": accepted}],
    }


@pytest.mark.parametrize(
    ("accepted", "given", "reason"),
    [
        ({"x": [{"city": "Oslo"}]}, {"x": {"city": "Oslo"}}, "an object without the lists of its values"),
        ({"x": [{"n": 3}]}, {"x": {"n": 3}}, "an object without the lists of its values"),
        ({"x": [{"city": []}]}, {"x": {"city": "Oslo"}}, "an object without the lists of its values"),
        ({"x": [[{"n": 3}]]}, {"x": [{"n": 3}]}, "an object without the lists of its values"),
        ({"x": [1]}, {"x": 99}, "'answer' is not among 'accepted'"),
        ({"x": [1]}, {}, "'answer' is not among 'accepted'"),
        ({"x": [1]}, {"x": 1, "y": 2}, "'answer' is not among 'accepted'"),
        ({"x": [{"city": ["Oslo"]}]}, {"x": {"city": "Rome"}}, "'answer' is not among 'accepted'"),
    ],
)
def test_accepted_values_of_another_form_or_another_answer_are_refused(
    accepted: dict[str, Any], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RowFault, match=reason):
        read(own_row(accepted, **given), "own")


@pytest.mark.parametrize(
    ("accepted", "given", "answer"),
    [
        ({"x": [1, 2]}, {"x": 2}, {"x": [2, 1]}),
        ({"x": [1, ""]}, {}, {"x": ["", 1]}),
        (
            {"x": [{"city": ["Oslo", "oslo"], "zip": ["", 1]}]},
            {"x": {"city": "oslo"}},
            {"x": [{"city": ["oslo", "Oslo"], "zip": ["", 1]}]},
        ),
        ({"x": [[{"n": [3]}, {"n": [4, 5]}]]}, {"x": [{"n": 3}, {"n": 5}]}, {"x": [[{"n": [3]}, {"n": [5, 4]}]]}),
    ],
)
def test_an_answer_among_what_is_accepted_comes_first(
    accepted: dict[str, Any], given: dict[str, Any], answer: dict[str, Any]
) -> None:
    (sample,) = read(own_row(accepted, **given), "own")
    assert sample.answer == (ToolCall("f", answer),)


def test_a_prompt_that_ends_with_the_assistant_and_a_number_out_of_range_are_refused() -> None:
    row = own_row({"x": [1]}, x=1)
    row["messages"].append({"role": "assistant", "content": "f(x=1)"})
    with pytest.raises(RowFault, match="ends with a turn of the assistant"):
        read(row, "own")
    with pytest.raises(ValueError, match="1e400 is no number that can be written again"):
        parse_json('{"x": 1e400}')
    assert parse_json('{"x": 1e40}') == {"x": 1e40}
