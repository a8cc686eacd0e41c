"""The assistant agent: what it decides with these tools and this conversation, and in what words it found the values.

Asked several times, it has to decide the same: calls are compared as a run's verifier compares them, replies only as
being none (ToolACE, arXiv 2409.00920).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iterft.protocols import ChatModel
from iterft.readers.parts import accept
from iterft.synth.catalog import ToolSpec
from iterft.synth.questions import calls_schema, object_schema, setting
from iterft.synth.teacher.asking import TEXT, WORDS, ask, listed
from iterft.synth.thoughts import calls_thought, cited, missing_thought
from iterft.synth.values import Value
from iterft.types import Message, Prompt, Sample, Tool, ToolCall

MAX_THOUGHTS = 8

Matches = Callable[[Sample, Sequence[ToolCall]], bool]
"""Whether calls are those that the sample's answer accepts."""


@dataclass(frozen=True)
class Action:
    """A turn that was decided on. `reply` is "" where it calls. `thinking` as the model gave it (`ACTION`)."""

    calls: tuple[ToolCall, ...]
    reply: str
    thinking: Sequence[Mapping[str, Any]] = ()


def act(model: ChatModel, messages: Sequence[Message], tools: Sequence[Tool]) -> Action:
    """One decision. ChatFault when there was none."""
    prompt = Prompt(tuple(messages), tuple(tools))
    said = ask(model, "assistant", {"example": setting(prompt)}, action_schema(prompt.tools))
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in said["calls"])
    return Action(calls, "" if calls else said["reply"], said["thinking"])


def agreed(
    model: ChatModel, messages: Sequence[Message], tools: Sequence[Tool], votes: int, matches: Matches
) -> Action | None:
    """The decision that is the same `votes` times, None at the first that is another one."""
    action = act(model, messages, tools)
    sample = Sample("", Prompt(tuple(messages), tuple(tools)), answer_of(action.calls, tools))
    for _ in range(votes - 1):
        if not matches(sample, act(model, messages, tools).calls):
            return None
    return action


def action_schema(tools: tuple[Tool, ...]) -> dict[str, Any]:
    """What is thought of comes before what is done."""
    value = object_schema(parameter=WORDS, words=WORDS)
    names = [tool["name"] for tool in tools]
    need = object_schema(
        tool={"enum": [*names, "none"]},
        values=listed(value, MAX_THOUGHTS),
        missing=listed(WORDS, MAX_THOUGHTS),
    )
    return object_schema(thinking=listed(need, MAX_THOUGHTS), calls=calls_schema(tools), reply=TEXT)


def answer_of(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> tuple[ToolCall, ...]:
    """Calls in the form of `Sample.answer`. What may be left out and is set to its default is left out."""
    parameters = {tool["name"]: tool.get("parameters") or {} for tool in tools}
    return tuple(
        ToolCall(
            call.name, {key: _accepted(key, value, parameters[call.name]) for key, value in call.arguments.items()}
        )
        for call in calls
    )


def _accepted(name: str, value: Any, parameters: Mapping[str, Any]) -> list[Any]:
    schema = parameters.get("properties", {}).get(name, {})
    is_default = name not in parameters.get("required", ()) and "default" in schema and schema["default"] == value
    return ["", accept(value)] if is_default else [accept(value)]


def thought_of(action: Action, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """What the action's think part says, in the form of `thoughts`: which tool, which value from which words, or what
    is missing. "" where the model has not said. Words that it cites and nobody said are passed over."""
    specs = {tool.name: tool for tool in tools}
    heard = "\n".join(str(message["content"]) for message in messages if message["role"] in ("user", "tool")).lower()
    left = list(action.thinking)
    asked = []
    for call in action.calls:
        need = next((each for each in left if each["tool"] == call.name), None)
        if need is not None:
            left.remove(need)
        words = {each["parameter"]: each["words"] for each in need["values"]} if need else {}
        asked.append((specs[call.name], _bindings(call, specs[call.name], words, heard)))
    if asked:
        return calls_thought(asked)
    known = (
        missing_thought(specs[need["tool"]], path)
        for need in left
        for path in need["missing"]
        if need["tool"] in specs and path in specs[need["tool"]].kinds
    )
    return next(known, "")


def _bindings(call: ToolCall, tool: ToolSpec, words: Mapping[str, str], heard: str) -> dict[str, Value]:
    bindings = {}
    for path in tool.kinds:
        value: Any = call.arguments
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            bindings[path] = cited(Value(words.get(path, ""), (value,)), heard)
    return bindings
