"""What the rules look at: a sample, and what is worked out about it once for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Any

from iterft.chat import Dialect
from iterft.json_schema import SchemaFault, object_faults, schema_faults
from iterft.rollout import reference_calls, settle_call
from iterft.types import Message, Sample, Tool, ToolCall


@dataclass(frozen=True)
class Facts:
    """`dialects`: the ways of writing calls that prose must not be mistaken for."""

    sample: Sample
    dialects: Sequence[Dialect]

    @property
    def messages(self) -> Sequence[Message]:
        return self.sample.prompt.messages

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        return {str(tool.get("name")): tool for tool in self.sample.prompt.tools}

    @cached_property
    def calls(self) -> tuple[ToolCall, ...]:
        """The reference's calls with plain values, without arguments for which none is accepted."""
        if all(values for call in self.sample.answer for values in call.arguments.values()):
            return reference_calls(self.sample)
        answer = [
            ToolCall(call.name, {name: values for name, values in call.arguments.items() if values})
            for call in self.sample.answer
        ]
        return reference_calls(replace(self.sample, answer=tuple(answer)))

    @property
    def reply(self) -> str:
        """What the reference says in prose, "" when it calls."""
        return "" if self.sample.answer else self.sample.text

    @cached_property
    def system(self) -> str:
        return "\n".join(self.said_by("system"))

    @cached_property
    def asked(self) -> str:
        """All that the user says."""
        return "\n".join(self.said_by("user"))

    @cached_property
    def prose(self) -> list[str]:
        """What the assistant says, in earlier turns and in the reference."""
        return [text for text in (*self.said_by("assistant"), self.reply) if text]

    @cached_property
    def tool_faults(self) -> list[tuple[str, SchemaFault]]:
        """(name of the tool, what is wrong with its parameters)."""
        return [(name, fault) for name, tool in self.tools.items() for fault in _faults_of(SameTool(tool))]

    @cached_property
    def call_faults(self) -> list[tuple[str, SchemaFault]]:
        """(name of the tool, what is wrong with a call of the reference under its schema), those included that may be
        left out."""
        return list(self.faults_of(map(_with_everything, self.sample.answer)))

    def faults_of(self, calls: Iterable[ToolCall]) -> Iterator[tuple[str, SchemaFault]]:
        """(name of the tool, what is wrong with a call of it); nothing where the tool itself is unsound."""
        for call in calls:
            schema = self.parameters_of(call.name)
            yield from ((call.name, fault) for fault in object_faults(call.arguments, schema, "", schema))

    def parameters_of(self, name: str) -> Mapping[str, Any]:
        """The schema of a tool's arguments, {} where there is none or an unsound one."""
        schema = self.tools.get(name, {}).get("parameters")
        return schema if isinstance(schema, Mapping) and name not in self._unsound else {}

    @cached_property
    def _unsound(self) -> set[str]:
        return {name for name, _ in self.tool_faults}

    def said_by(self, role: str) -> list[str]:
        return [text_of(message) for message in self.messages if message.get("role") == role]


Rule = Callable[[Facts], str]

_FAILURE = re.compile(r"(?:\w*error|\w*exception|failed|failure|time(?:d )?out)\b", re.IGNORECASE)


def _with_everything(call: ToolCall) -> ToolCall:
    """The call with plain values, and with the arguments that may be left out."""
    kept = {name: [value for value in values if value != ""] or values for name, values in call.arguments.items()}
    return settle_call(replace(call, arguments={name: values for name, values in kept.items() if values}))


def text_of(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def calls_of(message: Message) -> list[ToolCall]:
    """The calls that an earlier turn of the assistant made."""
    return [ToolCall(str(call.get("name")), call.get("arguments") or {}) for call in message.get("tool_calls") or ()]


def results_of(messages: Sequence[Message], at: int) -> list[Message]:
    """The results that follow the message at this place."""
    return list(takewhile(lambda each: each.get("role") == "tool", messages[at + 1 :]))


def answers_to(turn: Message, results: Sequence[Message]) -> list[tuple[ToolCall, Message | None]]:
    """Each call of the turn with its result: that of its id, else the first of its name, else the first of no name;
    None where there is none."""
    left = list(results)
    found: list[tuple[ToolCall, Message | None]] = []
    for call, raw in zip(calls_of(turn), turn.get("tool_calls") or (), strict=True):
        by_id = (each for each in left if raw.get("id") and each.get("tool_call_id") == raw["id"])
        by_name = (each for each in left if each.get("name") in (call.name, None))
        result = next(by_id, None) or next(by_name, None)
        found.append((call, result))
        left = [each for each in left if each is not result]
    return found


def is_failure(result: Message) -> bool:
    """Whether a result says that its call came to nothing, so that trying again makes sense."""
    text = text_of(result)
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    if isinstance(content, Mapping):
        has_failed = str(content.get("status")).lower() in ("error", "failed", "failure")
        return has_failed or bool(content.get("error")) or content.get("success") is False
    return isinstance(content, str) and _FAILURE.match(content.strip()) is not None


def shown(value: Any) -> str:
    """The beginning of a value, for people, on one line."""
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "..."


class SameTool:
    """A tool as a key: equal to itself only. Made samples show the same objects again and again."""

    __slots__ = ("tool",)

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def __hash__(self) -> int:
        return id(self.tool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameTool) and other.tool is self.tool


@lru_cache(maxsize=4096)
def _faults_of(same: SameTool) -> tuple[SchemaFault, ...]:
    return _faults_in(json.dumps(same.tool.get("parameters")))


@lru_cache(maxsize=4096)
def _faults_in(parameters: str) -> tuple[SchemaFault, ...]:
    """Lists of tools repeat from row to row, too."""
    schema = json.loads(parameters)
    return tuple(schema_faults(schema)) if schema is not None else ()
