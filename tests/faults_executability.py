"""Faults of calls, earlier ones too: reason -> plants, each another way to break the rule (see `places`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from misfits import (
    MISREAD,
    between,
    beyond,
    draft_4,
    item_not_listed,
    item_of_another_type,
    item_unfilled,
    not_listed,
    of_another_format,
    of_another_look,
    of_another_type,
    repeated,
    too_few,
    too_long,
    too_many,
    too_short,
    unfilled,
)
from places import (
    Plant,
    Schema,
    in_argument,
    in_call,
    plainly,
    with_argument,
    with_message,
    with_tool,
    with_tools,
)

from iterft.types import Sample, Tool, ToolCall


def renamed(rename: Callable[[str, Random], str]) -> Plant:
    def change(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
        name = rename(call.name, random)
        return None if name == call.name else replace(call, name=name)

    return in_call(change)


def not_shown(sample: Sample, random: Random) -> Sample | None:
    """The tool that is to be called is not among those shown."""
    if not sample.answer or any(message.get("tool_calls") for message in sample.prompt.messages):
        return None
    name = random.choice(sample.answer).name
    return with_tools(sample, [tool for tool in sample.prompt.tools if tool["name"] != name])


def no_longer_shown(sample: Sample, random: Random) -> Sample | None:
    """A tool that was called in an earlier turn is not among those shown, and is not to be called now."""
    earlier = {call["name"] for message in sample.prompt.messages for call in message.get("tool_calls", ())}
    names = sorted(earlier - {call.name for call in sample.answer})
    if not names:
        return None
    name = random.choice(names)
    return with_tools(sample, [tool for tool in sample.prompt.tools if tool["name"] != name])


def without_required(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
    names = [name for name in tool["parameters"].get("required", ()) if name in call.arguments]
    if not names:
        return None
    dropped = random.choice(names)
    return replace(call, arguments={name: value for name, value in call.arguments.items() if name != dropped})


def newly_required(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
    """A parameter that the call leaves out is required."""
    tools = {tool["name"]: at for at, tool in enumerate(sample.prompt.tools)}
    for call in sample.answer:
        parameters = sample.prompt.tools[tools[call.name]]["parameters"]
        same = [other.arguments for other in sample.answer if other.name == call.name]
        names = [name for name in parameters["properties"] if not any(name in arguments for arguments in same)]
        if names:
            required = [*parameters.get("required", ()), random.choice(names)]
            return sample, with_tool(sample, tools[call.name], parameters={**parameters, "required": required})
    return None


def with_unknown(call: ToolCall, tool: Tool, random: Random) -> ToolCall:
    return replace(call, arguments={**call.arguments, random.choice(("unheard_of", "query ", "")): ["some"]})


def misspelt(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
    """An optional parameter goes by another name."""
    required = tool["parameters"].get("required", ())
    names = [name for name in call.arguments if name not in required]
    if not names:
        return None
    old = random.choice(names)
    return replace(call, arguments={(name + "s" if name == old else name): v for name, v in call.arguments.items()})


SPOT: Schema = {
    "type": "object",
    "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
    "required": ["lat"],
}


def in_object(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Plant:
    """With an object among the arguments changed, which is one parameter more that the call sends."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        if not sample.answer or any(message.get("tool_calls") for message in sample.prompt.messages):
            return None
        number = random.randrange(len(sample.answer))
        at = next(at for at, tool in enumerate(sample.prompt.tools) if tool["name"] == sample.answer[number].name)
        parameters = sample.prompt.tools[at]["parameters"]
        ready = {**parameters, "properties": {**parameters["properties"], "spot": SPOT}}
        place = {"lat": [round(random.uniform(-80, 80), 2)], "lon": [round(random.uniform(-170, 170), 2)]}
        sound = with_argument(with_tool(sample, at, parameters=ready), number, "spot", [place])
        return sound, with_argument(sound, number, "spot", [change(place)])

    return plant


def in_earlier_call(change: Callable[[ToolCall, Tool, Random], ToolCall | None]) -> Plant:
    """With a call of an earlier turn changed."""

    def changed(sample: Sample, random: Random) -> Sample | None:
        tools = {tool["name"]: tool for tool in sample.prompt.tools}
        numbers = [at for at, message in enumerate(sample.prompt.messages) if message.get("tool_calls")]
        if not numbers:
            return None
        at = random.choice(numbers)
        calls = list(sample.prompt.messages[at]["tool_calls"])
        number = random.randrange(len(calls))
        name = calls[number]["name"]
        call = change(ToolCall(name, calls[number]["arguments"]), tools[name], random)
        if call is None:
            return None
        calls[number] = {**calls[number], "name": call.name, "arguments": call.arguments}
        return with_message(sample, at, tool_calls=calls)

    return plainly(changed)


def misread(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
    """One of the arguments is not of its type."""
    properties = tool["parameters"]["properties"]
    names = [name for name in call.arguments if properties[name].get("type") in MISREAD]
    if not names:
        return None
    name = random.choice(names)
    return replace(call, arguments={**call.arguments, name: random.choice(MISREAD[properties[name]["type"]])})


def made_twice(sample: Sample, random: Random) -> Sample | None:
    if not sample.answer:
        return None
    calls = list(sample.answer)
    calls.insert(random.randint(0, len(calls)), random.choice(calls))
    return replace(sample, answer=tuple(calls))


def with_none_accepted(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
    left_out = [name for name in tool["parameters"]["properties"] if name not in tool["parameters"].get("required", ())]
    return replace(call, arguments={**call.arguments, random.choice(left_out): []}) if left_out else None


def blank(text: str) -> Plant:
    def change(call: ToolCall, tool: Tool, random: Random) -> ToolCall | None:
        required = tool["parameters"].get("required", ())
        names = [
            name for name in call.arguments
            if name in required and tool["parameters"]["properties"][name].keys() <= {"type", "description"}
            and tool["parameters"]["properties"][name]["type"] == "string"
        ]  # fmt: skip
        return replace(call, arguments={**call.arguments, random.choice(names): [text]}) if names else None

    return in_call(change)


FAULTS: Mapping[str, Sequence[Plant]] = {
    "unknown_tool": [
        renamed(lambda name, random: "nothing_like_it"),
        renamed(lambda name, random: name.upper()),
        renamed(lambda name, random: name.partition(".")[2] or name),
        renamed(lambda name, random: f"functions.{name}"),
        renamed(lambda name, random: name[:-1]),
        plainly(not_shown),
    ],
    "missing_parameter": [
        in_call(without_required),
        newly_required,
        in_object(lambda place: {"lon": place["lon"]}),
    ],
    "unknown_parameter": [
        in_call(with_unknown),
        in_call(misspelt),
        in_object(lambda place: {**place, "height": [3]}),
    ],
    "wrong_type": [
        in_argument(of_another_type),
        in_argument(item_of_another_type),
        in_object(lambda place: {**place, "lat": [str(place["lat"][0])]}),
    ],
    "not_in_enum": [in_argument(not_listed), in_argument(item_not_listed)],
    "out_of_bounds": [
        *(in_argument(beyond(key, 0, 1)) for key in ("minimum", "maximum")),
        *(in_argument(beyond(key, 1, 0)) for key in ("exclusiveMinimum", "exclusiveMaximum")),
        in_argument(draft_4),
    ],
    "not_a_multiple": [in_argument(between)],
    "wrong_length": [in_argument(offer) for offer in (too_short, too_long, too_many, too_few)],
    "repeated_items": [in_argument(repeated)],
    "pattern_mismatch": [in_argument(of_another_look)],
    "format_mismatch": [in_argument(of_another_format)],
    "earlier_call_misfit": [
        in_earlier_call(without_required),
        in_earlier_call(misread),
        in_earlier_call(lambda call, tool, random: replace(call, arguments={**call.arguments, "unheard_of": "some"})),
        plainly(no_longer_shown),
    ],
    "repeated_call": [plainly(made_twice)],
    "nothing_accepted": [in_call(with_none_accepted)],
    "blank_value": [blank(text) for text in ("", " ", "\n\t")],
    "placeholder_value": [in_argument(unfilled), in_argument(item_unfilled)],
}
