"""Faults planted into sound samples, one for each rule: what makes it broken, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iterft.types import Message, Prompt, Sample, ToolCall

PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "City", "minLength": 2, "maxLength": 40},
        "days": {"type": "integer", "minimum": 1, "maximum": 14, "multipleOf": 1, "default": 3},
        "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
        "date": {"type": "string", "format": "date"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "hours": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "maxItems": 3},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
    },
    "required": ["city"],
}
TOOL: Mapping[str, Any] = {"name": "get_weather", "description": "Weather of a city.", "parameters": PARAMETERS}
OTHER: Mapping[str, Any] = {"name": "get_tides", "description": "Tides of a port.", "parameters": PARAMETERS}

ASKED: Message = {"role": "user", "content": "What will the weather be in Oslo?"}
CALLED: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "c1"}],
}
RESULT: Message = {"role": "tool", "name": "get_weather", "tool_call_id": "c1", "content": '{"degrees": 4}'}
CALLED_BOTH: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"name": name, "arguments": {"city": "Oslo"}} for name in ("get_weather", "get_tides")],
}
FAILED: Message = {**RESULT, "content": '{"error": "timeout, try again"}'}
ANSWERED: Message = {"role": "assistant", "content": "It will be 4 degrees."}

CALL = Sample(
    "call", Prompt((ASKED,), (TOOL, OTHER)), (ToolCall("get_weather", {"city": ["Oslo"]}),), kind="single", source="s"
)
REPLY = Sample(
    "reply", Prompt((ASKED, CALLED, RESULT), (TOOL, OTHER)), (), "It will be 4 degrees in Oslo.", "s", "summary"
)
SOUND = (
    CALL,
    REPLY,
    replace(CALL, prompt=Prompt(({"role": "system", "content": "Be brief."}, ASKED), (TOOL,))),
    replace(CALL, answer=(ToolCall("get_weather", {"city": ["Oslo"], "days": [3, ""], "place": [{"lat": [4.5]}]}),)),
    replace(REPLY, prompt=Prompt((ASKED,), (TOOL,)), text="Do you mean: (a) today or (b) tomorrow? :(", kind=""),
    replace(REPLY, prompt=Prompt((ASKED, CALLED, RESULT, {"role": "user", "content": "And Kyiv?"}), (TOOL,)), kind=""),
    replace(CALL, prompt=Prompt((ASKED, CALLED, RESULT, ASKED), (TOOL,))),
    replace(REPLY, prompt=Prompt(({"role": "system", "content": "Always answer in Russian."}, ASKED), (TOOL,)),
            text="Сегодня будет солнечно.", kind=""),
    replace(REPLY, prompt=Prompt(({"role": "user", "content": "Translate 'good morning' to Russian"},), (TOOL,)),
            text="Доброе утро вам всем, друзья!", kind=""),
    replace(CALL, prompt=Prompt(({"role": "system", "content": "Always respond in English."}, ASKED), (TOOL,))),
    replace(REPLY, prompt=Prompt(({"role": "system", "content": "Always respond in Russian."}, ASKED), (TOOL,)),
            text="Да.", kind=""),
    replace(CALL, prompt=Prompt((ASKED, CALLED, FAILED), (TOOL,))),
    replace(CALL, prompt=Prompt((ASKED, CALLED, {**RESULT, "content": "Error: timed out"}), (TOOL,))),
    replace(REPLY, prompt=Prompt((ASKED, CALLED_BOTH, *({"role": "tool", "name": name, "content": "4"}
            for name in ("get_tides", "get_weather"))), (TOOL, OTHER)), text="Both are 4."),
    replace(CALL, prompt=Prompt(({"role": "user", "content": "Weather of the city called {{city}}?"},), (TOOL,)),
            answer=(ToolCall("get_weather", {"city": ["{{city}}"]}),)),
    replace(CALL, prompt=Prompt(({"role": "user", "content": "Mail 'Hi {{name}}' to Oslo"}, CALLED, RESULT,
            {"role": "assistant", "content": "'Hi {{name}}' is on its way."}, ASKED), (TOOL,)),
            answer=(ToolCall("get_weather", {"city": ["Hi {{name}}"]}),)),
    replace(REPLY, prompt=Prompt((ASKED,), (TOOL,)), text="The chance of rain is in [0, 1), or (0.5; 1].", kind=""),
)  # fmt: skip
"""Samples to which no rule may object."""


def schema(**changes: Any) -> Sample:
    """With other keywords for `city`."""
    properties = {**PARAMETERS["properties"], "city": {**PARAMETERS["properties"]["city"], **changes}}
    return tool(parameters={**PARAMETERS, "properties": properties})


def tool(**changes: Any) -> Sample:
    return replace(CALL, prompt=Prompt((ASKED,), ({**TOOL, **changes},)))


def parameters(**changes: Any) -> Sample:
    return tool(parameters={**PARAMETERS, **changes})


def argument(**changes: Any) -> Sample:
    accepted = {"city": ["Oslo"], **{name: [value] for name, value in changes.items()}}
    return replace(CALL, answer=(ToolCall("get_weather", accepted),))


def messages(*turns: Message, sample: Sample = CALL) -> Sample:
    return replace(sample, prompt=Prompt(tuple(turns), sample.prompt.tools))


def says(text: str, system: str = "", kind: str = "") -> Sample:
    turns = ([{"role": "system", "content": system}] if system else []) + [ASKED]
    return replace(REPLY, prompt=Prompt(tuple(turns), REPLY.prompt.tools), text=text, kind=kind)


def user(text: str) -> Sample:
    return messages({"role": "user", "content": text})


def with_system(text: str, sample: Sample) -> Sample:
    return messages({"role": "system", "content": text}, *sample.prompt.messages, sample=sample)


TWICE = ToolCall("get_weather", {"city": ["Oslo"]}), ToolCall("get_weather", {"city": ["Bergen"]})

PLANTS: Mapping[str, list[Sample]] = {
    "nameless_tool": [
        replace(tool(name=" get_weather"), answer=(ToolCall(" get_weather", {"city": ["Oslo"]}),)),
        replace(CALL, prompt=Prompt((ASKED,), (TOOL, {"description": "Tides.", "parameters": PARAMETERS}))),
    ],
    "repeated_tool": [replace(CALL, prompt=Prompt((ASKED,), (TOOL, TOOL)))],
    "undescribed_tool": [tool(description=""), tool(description=" \n")],
    "parameters_no_object": [parameters(type="string")],
    "not_a_schema": [
        parameters(properties={"city": 3}), tool(parameters=["city"]), schema(type="array", items="string"),
        schema(anyOf=3),
    ],
    "unknown_type": [schema(type="txt"), schema(type=["string", "txt"])],
    "malformed_properties": [parameters(properties=["city"])],
    "malformed_required": [parameters(required="city"), parameters(required=True), parameters(required=[["city"]])],
    "undeclared_required": [
        parameters(required=["city", "town"]), parameters(anyOf=[{"required": ["city"]}, {"required": ["town"]}]),
    ],
    "nameless_parameter": [parameters(properties={**PARAMETERS["properties"], "": {"type": "string"}})],
    "malformed_enum": [schema(enum=[]), schema(enum="Oslo"), schema(enum=["Oslo", "Oslo"])],
    "enum_of_another_type": [schema(enum=["Oslo", 4])],
    "default_misfit": [schema(default=4), schema(default="x")],
    "malformed_bound": [schema(minLength="two"), schema(minLength=-1), schema(multipleOf=0)],
    "crossed_bounds": [
        schema(minLength=4, maxLength=2), schema(minimum=3, exclusiveMaximum=3), schema(exclusiveMinimum=3, maximum=2),
    ],
    "malformed_pattern": [schema(pattern="(")],
    "unresolved_reference": [parameters(properties={"city": {"$ref": "#/$defs/City"}})],
    "unknown_tool": [replace(CALL, answer=(ToolCall("get_snow", {}),)), replace(CALL, prompt=Prompt((ASKED,), ()))],
    "missing_parameter": [
        replace(CALL, answer=(ToolCall("get_weather", {}),)),
        argument(place={}),
    ],
    "unknown_parameter": [argument(town="Oslo"), argument(place={"lat": [4.5], "lon": [4.5]})],
    "wrong_type": [argument(days="3"), argument(city=4), argument(hours=["1"]), argument(days=True),
        replace(CALL, answer=(ToolCall("get_weather", {"city": ["Oslo"], "days": ["3", ""]}),)),
    ],
    "not_in_enum": [argument(unit="rankine")],
    "out_of_bounds": [argument(days=0), argument(days=15)],
    "not_a_multiple": [replace(
        schema(type="number", minLength=0, multipleOf=0.5), answer=(ToolCall("get_weather", {"city": [1.2]}),)
    )],
    "wrong_length": [argument(city="O"), argument(city="O" * 41), argument(hours=[1, 2, 3, 4])],
    "repeated_items": [argument(hours=[1, 1])],
    "pattern_mismatch": [argument(code="osl")],
    "format_mismatch": [argument(date="tomorrow"), argument(date="2026-13-01")],
    "earlier_call_misfit": [
        messages(ASKED, {**CALLED, "tool_calls": [{"name": "get_weather", "arguments": {"city": 4}}]}, RESULT, ASKED),
        replace(REPLY, prompt=Prompt(REPLY.prompt.messages, (OTHER,))),
    ],
    "repeated_call": [replace(CALL, answer=CALL.answer * 2)],
    "nothing_accepted": [replace(CALL, answer=(ToolCall("get_weather", {"city": ["Oslo"], "unit": []}),))],
    "blank_value": [argument(city="  ")],
    "placeholder_value": [argument(city="<city>"), argument(city="your_city"), argument(city="TBD")],
    "no_user_message": [messages(CALLED, RESULT, sample=REPLY)],
    "empty_message": [user(" "), messages(ASKED, {"role": "assistant", "content": ""}, ASKED)],
    "nothing_to_learn": [says("")],
    "too_long": [user("ab " * 7000)],
    "control_characters": [user("Oslo?\x07"), says("Snow\x00.")],
    "broken_encoding": [user("Ã…lesund?"), says("Snow \ufffd."), user("In Oslo, it\u00e2\u0080\u0099s cold?")],
    "template_marks": [user("Oslo? <|im_end|>"), says("[INST] Snow."), says("Snow.</s>")],
    "placeholder_text": [says("Dear [your name], snow."), user("Weather in {{city}}?")],
    "mixed_languages": [says("今天奥斯陆的天气很冷而且会下很大的雪。")],
    "unfinished_reply": [says("It will snow and"), says("It will snow in the"), says("First,")],
    "unclosed_text": [says("Snow (a lot."), says("```python\nsnow")],
    "looping_text": [says("It will snow in Oslo. " * 5)],
    "unknown_role": [messages({"role": "narrator", "content": "Once."}, ASKED)],
    "system_not_first": [messages(ASKED, {"role": "system", "content": "Be brief."}, ASKED)],
    "nobody_asked": [
        messages(ASKED, {"role": "assistant", "content": "Yes."}), messages(ASKED, ANSWERED, ANSWERED, ASKED),
        messages(ASKED, ANSWERED, CALLED, RESULT, sample=REPLY),
    ],
    "stray_result": [messages(ASKED, RESULT)],
    "unanswered_call": [
        messages(ASKED, CALLED, ASKED), messages(ASKED, CALLED, CALLED, RESULT, sample=REPLY),
    ],
    "surplus_result": [messages(ASKED, CALLED, RESULT, RESULT, sample=REPLY)],
    "result_of_another_tool": [
        messages(ASKED, CALLED, {**RESULT, "name": "get_tides"}, sample=REPLY),
        messages(ASKED, CALLED_BOTH, *({"role": "tool", "name": "get_weather", "content": "4"} for _ in range(2)),
                 sample=REPLY),
    ],
    "result_of_another_call": [messages(ASKED, CALLED, {**RESULT, "tool_call_id": "c2"}, sample=REPLY)],
    "call_already_answered": [
        messages(ASKED, CALLED, RESULT),
        messages(ASKED, CALLED, FAILED, CALLED, RESULT),
    ],
    "more_calls_than_allowed": [
        with_system(text, replace(CALL, answer=TWICE, kind="parallel"))
        for text in ("Make at most one call.", "Never call more than one tool.")
    ],
    "reply_not_json": [says("Snow.", system=text) for text in ("Answer only in JSON.", "Reply in JSON only.")],
    "language_not_wanted": [
        says("It will snow a lot.", system=text) for text in ("Always answer in Japanese.", "Answer only in Japanese.")
    ],
    "think_left_open": [says("<think>Hm. Snow.")],
    "call_where_none_is_right": [replace(CALL, kind="no_tool"), replace(CALL, kind="missing_info")],
    "call_in_prose": [
        says("[get_weather(city='Oslo')]"),
        says('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'),
    ],
    "prose_where_a_call_is_due": [says("Snow.", kind="single"), says("Snow.", kind="parallel")],
    "call_announced": [says("I'll use get_weather to find out."), says("Calling `get_weather` now.")],
}  # fmt: skip
"""Reason -> samples that break this rule."""

ALSO: Mapping[str, set[str]] = {
    "call_in_prose": {"template_marks"},
}
"""Reason -> other rules that its plants cannot help breaking."""
