"""The world behind anybody's tools: results of calls, of the type that the tool returns, and what is said about them.

A result depends on the tool, its arguments and a seed alone, so the same call has the same result. It repeats what the
call has set, where it has a field of that name. Where nothing says what a tool returns, its name does: what is made or
found has an id. A bare value is what the tool is about: the price of `get_price`, the id of what `create_lead` makes.
Not here: real effects.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from random import Random
from typing import Any

from iterft.json_schema import types_of
from iterft.rollout import settle
from iterft.synth.clauses import is_noun, said_name
from iterft.synth.deeds import deeds, gist
from iterft.synth.names import words_of
from iterft.synth.parameters import named
from iterft.synth.sentences import OPENING
from iterft.synth.typed import kind_for
from iterft.synth.values import Kind, Value
from iterft.synth.verbs import is_plural
from iterft.toolsets.parts import Definition
from iterft.types import ToolCall

FAILURE_SHARE = 0.06
_FAILURES = ("not found", "service unavailable", "permission denied", "try again later", "no data for this request")
_FOUND = ("Here is what I found: {}.", "I looked it up: {}.", "{!}.", "The result is in: {}.", "{!}.")
_WORKED_OUT = ("The result is in: {}.", "{!}.", "Here is the result: {}.")
_DONE = ("Done: {}.", "That's done: {}.", "All set: {}.", "{!}.")
_SUCCEEDED = ("That's done.", "It worked.", "All set.", "Done.")
_YES = ("Yes.", "Yes, that is so.", "The answer is yes.")
_NO = ("No.", "No, that is not so.", "The answer is no.")
_FAILED = ("That did not work: {}.", "I'm sorry, the tool reports: {}.", "It failed with this message: {}.")
MAKING = frozenset(
    ["create", "make", "add", "book", "schedule", "order", "register", "start", "submit", "send", "post"]
) | {"generate", "place", "open", "set up", "upload"}
LOOKING = frozenset(
    ["get", "show", "tell", "list", "search", "query", "find", "check", "find out", "track", "detect"]
) | {"identify", "verify", "describe", "discover", "recommend", "ask", "scan", "inspect", "count", "browse"}
_WORKING_OUT = frozenset(
    ["calculate", "estimate", "convert", "predict", "determine", "compare", "analyze", "measure", "solve"]
) | {"translate", "summarize", "classify", "assess", "simulate", "extract", "explain"}
_STATES = ("up to date", "available", "complete")
"""What may be said of anything that is looked up."""
_GIVEN_BACK = ("done", "completed", "ok")
"""What an action that returns a bare text says."""
_MAX_TOLD = 4


def returns_of(definition: Definition) -> Mapping[str, Any]:
    """The schema of its result: declared, or of the sort that its name suggests."""
    verb, topic = gist(definition.name, definition.description)
    noun = topic or "result"
    noun = noun.removesuffix("s") if is_plural(noun) else noun
    if definition.returns and not _is_open(definition.returns):
        declared = _of_deed(definition.returns, verb, noun)
        with suppress(ValueError):  # a result that cannot be made is not what the tool is asked for
            _kind(declared)
            return declared
    if deeds(definition.name, definition.description)[0].thing.startswith("whether "):
        return {"type": "boolean", "enum": [True, False]}
    identifier = {f"{noun}_id": {"type": "string"}}
    properties: dict[str, Any]
    if verb in MAKING:
        properties = {**identifier, "status": {"type": "string", "enum": ["confirmed", "created", "accepted"]}}
    elif verb == "track":
        properties = {
            "status": {"type": "string", "enum": ["on its way", "delivered", "waiting"]},
            "location": {"type": "string"},
        }
    elif verb in ("search", "query", "find", "list"):
        properties = {**identifier, "name": {"type": "string"}, "num_matches": {"type": "integer"}}
    elif verb in ("get", "show", "check", "calculate", "estimate", "convert", "count", "predict"):
        properties = {noun: _looked_up(noun) if verb in LOOKING else {"type": "number"}}
    else:
        properties = {"status": {"type": "string", "enum": [*_GIVEN_BACK]}}
        properties |= identifier if topic else {}
    for name, schema in definition.parameters["properties"].items():
        if name in properties and types_of(schema):
            properties[name] = {"type": schema["type"]}  # what the call says is said again
    inner = (definition.returns or {}).get("additionalProperties")
    if isinstance(inner, Mapping) and inner:
        alike = {name: schema for name, schema in properties.items() if set(types_of(schema)) <= set(types_of(inner))}
        properties = alike or {f"{noun}_id" if verb in MAKING else noun: inner}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _looked_up(noun: str) -> Mapping[str, Any]:
    """The schema of what is looked up: a number where its name is that of one, a text where it is that of a text."""
    words = words_of(noun)
    if words[-1:] not in (["time"], ["date"], ["day"], ["month"]) and named("number", words):
        return {"type": "number"}
    return {"type": "string"} if named("string", words) else {"type": "string", "enum": [*_STATES]}


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether nothing is said of a result but that it is an object, or what any of its fields holds."""
    return types_of(schema) == ["object"] and not schema.get("properties")


def _of_deed(schema: Mapping[str, Any], verb: str, noun: str) -> Mapping[str, Any]:
    """The schema of a result; that of a bare value with what the verb makes of it: what is asked for is so or is not,
    what is made has an id, and an action says no more than that it is done."""
    names = types_of(schema)
    is_looking = verb in LOOKING or verb in _WORKING_OUT
    if names == ["boolean"] and is_looking:
        return {"enum": [True, False], **schema}
    if names not in (["string"], ["integer"], ["number"]) or set(schema) != {"type"}:
        return schema
    if is_looking or verb in MAKING:
        return {**schema, "description": said_name(noun if is_looking else f"{noun}_id")}
    return {**schema, "enum": [*_GIVEN_BACK]} if names == ["string"] else schema


def _kind(returns: Mapping[str, Any]) -> Kind:
    """Results are always whole: every field of an object is there. ValueError where none can be made."""
    if types_of(returns) == ["null"]:
        return Kind(returns, lambda random: Value("", (None,)))
    return kind_for("result", _all_required(returns))


class World:
    """Answers calls of tools by the schemas of their results, by name of the tool."""

    def __init__(self, returns: Mapping[str, Mapping[str, Any]], seed: int) -> None:
        self.returns, self.seed = returns, seed
        self.kind = functools.cache(lambda tool: _kind(returns[tool]))

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
            said = call.arguments.get(_argument_of(name, call))
            if said is not None and type(said) is type(result[name]):
                result[name] = said
        return {name: result[name] for name in (*schema.get("properties", ()), *result) if name in result}

    def _seed(self, call: ToolCall) -> str:
        return f"{self.seed} {call.name} {json.dumps(call.arguments, sort_keys=True)}"


def _argument_of(field: str, call: ToolCall) -> str:
    """The argument that says what a field of the result holds, "" where none does: that of the same name, or for the
    `id` of a `get_pet` the only `pet_id`."""
    if field in call.arguments or field != "id":
        return field
    before = takewhile(lambda word: word not in OPENING, words_of(call.name))
    singular = {word.removesuffix("s") for word in before}
    found = [
        name
        for name in call.arguments
        if len(words := words_of(name)) > 1 and words[-1] == "id" and words[-2].removesuffix("s") in singular
    ]
    return found[0] if len(found) == 1 else ""


def told(calls: Sequence[ToolCall], results: Sequence[Any], gists: Sequence[tuple[str, str]], random: Random) -> str:
    """Results in a sentence each; with several calls, each is told from the others by a value of its own. `gists`: of
    the tools that were called, see `deeds.gist`."""
    sentences = [_told(result, *each, random) for result, each in zip(results, gists, strict=True)]
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


def _told(result: Any, verb: str, noun: str, random: Random) -> str:
    if isinstance(result, dict) and set(result) == {"error"}:
        return random.choice(_FAILED).format(result["error"])
    is_looking, is_working_out = verb in LOOKING, verb in _WORKING_OUT
    if isinstance(result, bool) and (is_looking or is_working_out):
        return random.choice(_YES if result else _NO)
    if result is None or result is True or (result in _GIVEN_BACK and not is_looking):
        return random.choice(_SUCCEEDED)
    if isinstance(result, dict | list):
        facts = _facts(result)[:_MAX_TOLD]
    else:
        facts = [f"{_subject(verb, noun, is_looking or is_working_out)} is {_shown(result)}"]
    text = ", ".join(facts[:-1]) + (" and " if len(facts) > 1 else "") + facts[-1]
    frame = random.choice(_FOUND if is_looking else _WORKED_OUT if is_working_out else _DONE)
    return frame.replace("{!}", text[0].upper() + text[1:]).replace("{}", text)


def _subject(verb: str, noun: str, is_asked_for: bool) -> str:
    """What a bare value is."""
    if verb in MAKING and noun:
        return f"the {said_name(noun.removesuffix('s') if is_plural(noun) else noun)} id"
    if is_asked_for:
        return f"the {said_name(noun)}" if noun and is_noun(noun) and not is_plural(noun) else "it"
    return "the result"


def _facts(result: Any) -> list[str]:
    """ "the temperature is 3.5", for each field that is no object or list."""
    if isinstance(result, dict):
        plain = [(name, value) for name, value in result.items() if not isinstance(value, dict | list)]
        inner = [fact for value in result.values() if isinstance(value, dict | list) for fact in _facts(value)]
        return [f"the {said_name(name)} is {_shown(value)}" for name, value in plain] + inner
    if isinstance(result, list):
        bare = [_shown(item) for item in result if not isinstance(item, dict | list)]
        if bare:
            return ["it lists " + ", ".join(bare)]
        return [fact for item in result[:1] for fact in _facts(item)] or ["it lists nothing"]
    return []


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
        made.setdefault("enum", [True] if is_top else [True, False])
    return made
