"""Where a fault can be planted into any sample: its tools, their schemas, its arguments, its messages, its words.

A plant gives (the sample as it is sound, the same with the fault), or None where the sample has no place for it. The
sound one may have been given what the fault needs, such as a pattern that the argument fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from iterft.types import Message, Prompt, Sample, Tool, ToolCall

Plant = Callable[[Sample, Random], tuple[Sample, Sample] | None]
Path = tuple[Any, ...]
Schema = Mapping[str, Any]


def plainly(change: Callable[[Sample, Random], Sample | None]) -> Plant:
    """A plant that needs nothing to be added first."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        broken = change(sample, random)
        return None if broken is None else (sample, broken)

    return plant


def with_messages(sample: Sample, messages: Sequence[Message]) -> Sample:
    return replace(sample, prompt=Prompt(tuple(messages), sample.prompt.tools))


def with_message(sample: Sample, at: int, **changes: Any) -> Sample:
    messages = list(sample.prompt.messages)
    messages[at] = {**messages[at], **changes}
    return with_messages(sample, messages)


def with_system(sample: Sample, text: str) -> Sample:
    return with_messages(sample, ({"role": "system", "content": text}, *sample.prompt.messages))


def with_tools(sample: Sample, tools: Sequence[Tool]) -> Sample:
    return replace(sample, prompt=Prompt(sample.prompt.messages, tuple(tools)))


def with_tool(sample: Sample, at: int, **changes: Any) -> Sample:
    tools = list(sample.prompt.tools)
    tools[at] = {**tools[at], **changes}
    return with_tools(sample, tools)


def any_tool(sample: Sample, random: Random) -> int | None:
    """Where one of the tools stands, in half of the cases one that is called, if one is."""
    called = [at for at, tool in enumerate(sample.prompt.tools) if tool["name"] in names_called(sample)]
    numbers = called if called and random.random() < 0.5 else range(len(sample.prompt.tools))
    return random.choice(numbers) if numbers else None


GONE = object()
"""In place of a value: its key is left out."""


def in_tool(is_uncalled: bool = False, **changes: Any) -> Plant:
    """With other keys in one of the tools, or only in one that nobody calls."""

    def change(sample: Sample, random: Random) -> Sample | None:
        at = uncalled_tool(sample, random) if is_uncalled else any_tool(sample, random)
        if at is None:
            return None
        tools = list(sample.prompt.tools)
        tools[at] = {key: value for key, value in {**tools[at], **changes}.items() if value is not GONE}
        return with_tools(sample, tools)

    return plainly(change)


def uncalled_tool(sample: Sample, random: Random) -> int | None:
    called = names_called(sample)
    numbers = [at for at, tool in enumerate(sample.prompt.tools) if tool["name"] not in called]
    return random.choice(numbers) if numbers else None


def names_called(sample: Sample) -> set[str]:
    earlier = (call["name"] for message in sample.prompt.messages for call in message.get("tool_calls", ()))
    return {*earlier, *(call.name for call in sample.answer)}


def at_path(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """The same with what stands at the path changed; nothing is changed in place."""
    if not path:
        return change(value)
    first, *rest = path
    inner = at_path(value[first], tuple(rest), change)
    if isinstance(value, Mapping):
        return {**value, first: inner}
    return [*value[:first], inner, *value[first + 1 :]]


def schemas_in(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """(path, schema) of the schema itself and of all that it is made of."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas_in(inner, (*path, "properties", name))
    if "items" in schema:
        yield from schemas_in(schema["items"], (*path, "items"))


def in_schema(
    change: Callable[[Any], Any],
    suits: Callable[[Schema], bool],
    sound: Callable[[Any], Any] = lambda schema: schema,
) -> Plant:
    """With one of the schemas changed that suit, at any depth below the parameters as a whole. `sound` makes of it what
    is to be broken."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        at = any_tool(sample, random)
        if at is None:
            return None
        parameters = sample.prompt.tools[at]["parameters"]
        paths = [path for path, schema in schemas_in(parameters) if path and suits(schema)]
        if not paths:
            return None
        path = random.choice(paths)
        ready = at_path(parameters, path, sound)
        return with_tool(sample, at, parameters=ready), with_tool(sample, at, parameters=at_path(ready, path, change))

    return plant


def in_parameters(change: Callable[[Any], Any], sound: Callable[[Any], Any] = lambda schema: schema) -> Plant:
    """With the parameters of a tool changed that has some. `sound` makes of them what is to be broken."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        at = any_tool(sample, random)
        if at is None or not sample.prompt.tools[at]["parameters"].get("properties"):
            return None
        ready = sound(sample.prompt.tools[at]["parameters"])
        return with_tool(sample, at, parameters=ready), with_tool(sample, at, parameters=change(ready))

    return plant


Offer = Callable[[Sequence[Any], Schema, Random], tuple[Schema, Any] | None]


def in_argument(offer: Offer) -> Plant:
    """With a value that does not fit in the reference's calls. `offer` is given all values sent for a parameter, that
    which is replaced first, and its schema; it gives (keywords that they all fit, a value that does not)."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        tools = {tool["name"]: at for at, tool in enumerate(sample.prompt.tools)}
        places = [(number, name) for number, call in enumerate(sample.answer) for name in call.arguments]
        for number, name in random.sample(places, len(places)):
            at = tools[sample.answer[number].name]
            parameters = sample.prompt.tools[at]["parameters"]
            path = ("properties", name)
            offered = offer(values_of(sample, number, name), parameters["properties"][name], random)
            if offered is not None:
                keywords, misfit = offered
                ready = at_path(parameters, path, lambda schema, keywords=keywords: {**schema, **keywords})
                sound = with_tool(sample, at, parameters=ready)
                return sound, with_argument(sound, number, name, [misfit])
        return None

    return plant


def values_of(sample: Sample, number: int, name: str) -> list[Any]:
    """All values that are sent for a parameter of the tool of call `number`, that of this call first."""
    tool = sample.answer[number].name
    calls = [sample.answer[number], *(call for at, call in enumerate(sample.answer) if at != number)]
    values = [value for call in calls if call.name == tool for value in call.arguments.get(name, ()) if value != ""]
    for message in sample.prompt.messages:
        for call in message.get("tool_calls", ()):
            if call["name"] == tool and name in call["arguments"]:
                values.append(call["arguments"][name])
    return values


def with_call(sample: Sample, number: int, call: ToolCall) -> Sample:
    return replace(sample, answer=(*sample.answer[:number], call, *sample.answer[number + 1 :]))


def with_argument(sample: Sample, number: int, name: str, accepted: list[Any]) -> Sample:
    call = sample.answer[number]
    return with_call(sample, number, replace(call, arguments={**call.arguments, name: accepted}))


def in_call(change: Callable[[ToolCall, Tool, Random], ToolCall | None]) -> Plant:
    """With one of the reference's calls changed; `change` is given its tool as well."""

    def changed(sample: Sample, random: Random) -> Sample | None:
        tools = {tool["name"]: tool for tool in sample.prompt.tools}
        for number in random.sample(range(len(sample.answer)), len(sample.answer)):
            call = change(sample.answer[number], tools[sample.answer[number].name], random)
            if call is not None:
                return with_call(sample, number, call)
        return None

    return plainly(changed)


Rewrite = Callable[[str, Random], str | None]
REPLY = -1
"""In place of a message's number: the reply of the reference."""


def in_words(rewrite: Rewrite, *speakers: str) -> Plant:
    """With what one of the speakers says rewritten: "user", "assistant" (in earlier turns), "reply"."""

    def change(sample: Sample, random: Random) -> Sample | None:
        places = [
            at
            for at, message in enumerate(sample.prompt.messages)
            if message["role"] in speakers and not message.get("tool_calls")
        ]
        if "reply" in speakers and sample.text and not sample.answer:
            places.append(REPLY)
        if not places:
            return None
        at = random.choice(places)
        text = rewrite(sample.text if at == REPLY else sample.prompt.messages[at]["content"], random)
        if text is None:
            return None
        return replace(sample, text=text) if at == REPLY else with_message(sample, at, content=text)

    return plainly(change)


def amid(inserted: Sequence[str]) -> Rewrite:
    """One of these between two of the words."""

    def rewrite(text: str, random: Random) -> str | None:
        words = text.split(" ")
        if len(words) < 3:
            return None
        at = random.randrange(1, len(words) - 1)
        return " ".join([*words[:at], random.choice(inserted), *words[at:]])

    return rewrite
