"""The world behind anybody's tools: results of calls, of the type that the tool returns, and what is said about them.

A result depends on the tool, its arguments and a seed alone, so the same call has the same result. It repeats what the
call has set, where it has a field of that name. Where nothing says what a tool returns, its name does: what is made or
found has an id. Not here: real effects.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from iterft.json_schema import types_of
from iterft.rollout import settle
from iterft.synth.clauses import said_name
from iterft.synth.names import words_of
from iterft.synth.typed import fields_of, kind_for
from iterft.synth.values import Kind
from iterft.synth.verbs import is_plural, verbs
from iterft.toolsets.parts import Definition
from iterft.types import ToolCall

FAILURE_SHARE = 0.06
_FAILURES = ("not found", "service unavailable", "permission denied", "try again later", "no data for this request")
_LEADS = ("Here is what I found: {}.", "I looked it up: {}.", "{!}.", "The result is in: {}.", "{!}.")
_DONE = ("Done: {}.", "That's done: {}.", "All set: {}.", "{!}.")
_SUCCEEDED = ("That's done.", "It worked.", "All set.", "Done.")
_FAILED = ("That did not work: {}.", "I'm sorry, the tool reports: {}.", "It failed with this message: {}.")
_MAKING = ("create", "add", "book", "schedule", "order", "register", "start", "submit", "send", "post", "generate")
_MAX_TOLD = 4


def returns_of(definition: Definition) -> Mapping[str, Any]:
    """The schema of its result: declared, or of the sort that its name suggests."""
    if definition.returns and list(fields_of({"properties": {"result": definition.returns}})):
        with suppress(ValueError):  # a result that cannot be made is not what the tool is asked for
            kind_for("result", _all_required(definition.returns))
            return definition.returns
    words = words_of(definition.name.rpartition(".")[2])
    verb = verbs()[words[0]][0] if words[0] in verbs() else ""
    noun = "_".join(words[1:] or ["result"] if verb else words)
    noun = noun.removesuffix("s") if is_plural(noun) else noun
    identifier = {f"{noun}_id": {"type": "string"}}
    properties: dict[str, Any]
    if verb in _MAKING:
        properties = {**identifier, "status": {"type": "string", "enum": ["confirmed", "created", "accepted"]}}
    elif verb == "track":
        properties = {
            "status": {"type": "string", "enum": ["on its way", "delivered", "waiting"]},
            "location": {"type": "string"},
        }
    elif verb in ("search", "query", "find", "list"):
        properties = {**identifier, "name": {"type": "string"}, "num_matches": {"type": "integer"}}
    elif verb in ("get", "show", "check", "calculate", "estimate", "convert", "count", "predict"):
        properties = {noun: {"type": "number"}}
    else:
        properties = {"status": {"type": "string", "enum": ["done", "completed", "ok"]}, **identifier}
    return {"type": "object", "properties": properties, "required": list(properties)}


class World:
    """Answers calls of tools by the schemas of their results, by name of the tool."""

    def __init__(self, returns: Mapping[str, Mapping[str, Any]], seed: int) -> None:
        self.returns, self.seed = returns, seed
        self.kind = functools.cache(self._kind)

    def answer(self, call: ToolCall) -> Any:
        """The result of a call, which now and then is a failure, {"error": ...}."""
        random = Random(f"luck {self._seed(call)}")
        return {"error": random.choice(_FAILURES)} if random.random() < FAILURE_SHARE else self.success(call)

    def success(self, call: ToolCall) -> Any:
        """A result that is no failure."""
        schema = self.returns[call.name]
        result = settle(self.kind(call.name).draw(Random(self._seed(call))).accepted[0])
        if not isinstance(result, dict):
            return result
        for name in result:
            if name in call.arguments and type(call.arguments[name]) is type(result[name]):
                result[name] = call.arguments[name]
        return {name: result[name] for name in (*schema.get("properties", ()), *result) if name in result}

    def _seed(self, call: ToolCall) -> str:
        return f"{self.seed} {call.name} {json.dumps(call.arguments, sort_keys=True)}"

    def _kind(self, tool: str) -> Kind:
        """Results are always whole: every field of an object is there."""
        return kind_for("result", _all_required(self.returns[tool]))


def told(calls: Sequence[ToolCall], results: Sequence[Any], random: Random) -> str:
    """Results in a sentence each; with several calls, each is told from the others by a value of its own."""
    sentences = [_told(result, random) for result in results]
    if len(calls) < 2:
        return sentences[0]
    labels = [_label(call, [other for other in calls if other is not call]) for call in calls]
    return " ".join(f"{label}: {text}" for label, text in zip(labels, sentences, strict=True))


def _label(call: ToolCall, others: Sequence[ToolCall]) -> str:
    """The first plain value that no other call has, else the name of the tool."""
    for name, value in call.arguments.items():
        if isinstance(value, str | int | float) and all(other.arguments.get(name) != value for other in others):
            return f"For {_shown(value)}"
    return said_name(call.name)


def _told(result: Any, random: Random) -> str:
    if isinstance(result, dict) and set(result) == {"error"}:
        return random.choice(_FAILED).format(result["error"])
    if result is True:
        return random.choice(_SUCCEEDED)
    facts = _facts(result)[:_MAX_TOLD]
    text = ", ".join(facts[:-1]) + (" and " if len(facts) > 1 else "") + facts[-1]
    frame = random.choice(_DONE if isinstance(result, dict) and "status" in result else _LEADS)
    return frame.replace("{!}", text[0].upper() + text[1:]).replace("{}", text)


def _facts(result: Any) -> list[str]:
    """ "the temperature is 3.5", for each field that is no object."""
    if isinstance(result, dict):
        plain = [(name, value) for name, value in result.items() if not isinstance(value, dict | list)]
        inner = [fact for value in result.values() if isinstance(value, dict | list) for fact in _facts(value)]
        return [f"the {said_name(name)} is {_shown(value)}" for name, value in plain] + inner
    if isinstance(result, list):
        bare = [_shown(item) for item in result if not isinstance(item, dict | list)]
        if bare:
            return ["it lists " + ", ".join(bare)]
        return [fact for item in result[:1] for fact in _facts(item)] or ["it lists nothing"]
    return [f"it is {_shown(result)}"]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)


def _all_required(schema: Any, is_top: bool = True) -> Any:
    """The schema with every field of every object required. A tool that returns nothing but a boolean has done it."""
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    if isinstance(schema.get("properties"), Mapping):
        made["properties"] = {name: _all_required(inner, False) for name, inner in schema["properties"].items()}
        made["required"] = list(schema["properties"])
    if isinstance(schema.get("items"), Mapping):
        made["items"] = _all_required(schema["items"], False)
    if "boolean" in types_of(schema):
        made["enum"] = [True] if is_top else [True, False]
    return made
