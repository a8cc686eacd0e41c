"""Faults of the tools that a sample shows: reason -> plants, each another way to break the rule (see `places`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from places import (
    GONE,
    Plant,
    Schema,
    any_tool,
    in_parameters,
    in_schema,
    in_tool,
    names_called,
    plainly,
    with_tool,
    with_tools,
)

from iterft.types import Sample, ToolCall

OF_TYPE: Mapping[str, Any] = {
    "string": "some", "integer": 4, "number": 4.5, "boolean": True, "array": [], "object": {},
}  # fmt: skip
OF_ANOTHER: Mapping[str, Any] = {
    "string": 4, "integer": "four", "number": "4.5", "boolean": "true", "array": "one", "object": "none",
}  # fmt: skip
"""Type -> a value that is of it, and one that is not."""
NOTE: Schema = {"type": "string", "description": "Free text"}


def renamed(form: str) -> Plant:
    """A tool has its name in another form, and is called by it where the reference calls it."""

    def change(sample: Sample, random: Random) -> Sample | None:
        at = any_tool(sample, random)
        if at is None or any(message.get("tool_calls") for message in sample.prompt.messages):
            return None
        old = sample.prompt.tools[at]["name"]
        new = form.format(old)
        calls = (ToolCall(new, call.arguments) if call.name == old else call for call in sample.answer)
        return replace(with_tool(sample, at, name=new), answer=tuple(calls))

    return plainly(change)


def shown_twice(sample: Sample, random: Random) -> Sample | None:
    at = any_tool(sample, random)
    if at is None:
        return None
    tools = list(sample.prompt.tools)
    tools.insert(random.randint(0, len(tools)), {**tools[at], "description": "The same in other words."})
    return with_tools(sample, tools)


def of_one_name(sample: Sample, random: Random) -> Sample | None:
    """Two tools that do different things, neither of which is called."""
    called = names_called(sample)
    numbers = [at for at, tool in enumerate(sample.prompt.tools) if tool["name"] not in called]
    if len(numbers) < 2:
        return None
    one, other = random.sample(numbers, 2)
    return with_tool(sample, other, name=sample.prompt.tools[one]["name"])


def has(*kinds: str) -> Callable[[Schema], bool]:
    """Whether a schema is of one of these types and says nothing else about its values."""
    return lambda schema: schema.get("type") in kinds and schema.keys() <= {"type", "description", "items"}


def has_enum(schema: Schema) -> bool:
    return len(schema.get("enum", ())) > 1 and schema["type"] == "string"


def with_fields(schema: Schema) -> bool:
    return bool(schema.get("properties"))


def setting(**keywords: Any) -> Callable[[Schema], Schema]:
    return lambda schema: {**schema, **keywords}


def with_more(name: str, schema: Any) -> Callable[[Schema], Schema]:
    """With one more parameter."""
    return lambda parent: {**parent, "properties": {**parent["properties"], name: schema}}


def requiring(required: Callable[[list[str]], Any]) -> Callable[[Schema], Schema]:
    """With another value of `required`, given the names of the parameters."""
    return lambda parent: {**parent, "required": required(list(parent["properties"]))}


def with_default(of: Mapping[str, Any]) -> Callable[[Schema], Schema]:
    return lambda schema: {**schema, "default": of[schema["type"]]}


def in_enum(change: Callable[[list[Any]], Any]) -> Plant:
    return in_schema(lambda schema: {**schema, "enum": change(schema["enum"])}, has_enum)


def bound(kind: str, broken: Mapping[str, Any], **sound: Any) -> Plant:
    """Bounds of a type that allow any value that is sent, then others that mean nothing."""
    return in_schema(setting(**broken), has(kind), setting(**sound))


def undefined(pointer: str, key: str) -> Plant:
    """One more parameter refers to a definition, which is then taken away."""
    defined = {key: {"Note": NOTE}}
    return in_parameters(
        lambda schema: {name: value for name, value in schema.items() if name != key},
        lambda schema: {**with_more("note", {"$ref": pointer})(schema), **defined},
    )


FAULTS: Mapping[str, Sequence[Plant]] = {
    "nameless_tool": [
        *(renamed(form) for form in (" {}", "{} ", "{}\n", "{}\tonce", "")),
        *(in_tool(is_uncalled=True, name=name) for name in (GONE, None)),
    ],
    "repeated_tool": [plainly(shown_twice), plainly(of_one_name)],
    "undescribed_tool": [
        *(in_tool(description=text) for text in ("", None, GONE, "  ", "\n")),
        in_tool(is_uncalled=True, description=""),
    ],
    "parameters_no_object": [in_parameters(setting(type=kind)) for kind in ("string", "array", ["object", "null"])],
    "not_a_schema": [
        *(in_tool(parameters=value) for value in (["city"], "none", 3, False)),
        *(in_parameters(with_more("size", value)) for value in ("string", None, 3, ["string"])),
        in_parameters(with_more("size", {"anyOf": ["string", {"type": "null"}]})),
        in_parameters(with_more("size", {"anyOf": 3})),
        in_parameters(with_more("size", {"type": "object", "additionalProperties": "string"})),
        *(in_schema(setting(items=value), has("array")) for value in ("string", 3)),
    ],
    "unknown_type": [
        *(in_schema(setting(type=kind), has(*OF_TYPE)) for kind in ("str", "int", ["string", "txt"], 4, {})),
        in_parameters(with_more("size", {"anyOf": [{"type": "int"}, {"type": "null"}]})),
    ],
    "malformed_properties": [
        in_parameters(lambda schema: {**schema, "properties": list(schema["properties"])}),
        in_parameters(setting(properties="none")),
        in_parameters(setting(properties=None)),
        in_schema(setting(type="object", properties=["value"]), has("string")),
    ],
    "malformed_required": [
        in_parameters(requiring(lambda names: names[0])),
        in_parameters(requiring(lambda names: True)),
        in_parameters(requiring(lambda names: [3])),
        in_parameters(requiring(lambda names: [names])),
        in_parameters(requiring(lambda names: dict.fromkeys(names, True))),
        in_schema(setting(required=True), has("string", "integer")),
    ],
    "undeclared_required": [
        in_parameters(requiring(lambda names: [*names, "unheard_of"])),
        in_parameters(requiring(lambda names: [name.upper() for name in names])),
        in_schema(setting(required=["unheard_of"]), with_fields),
    ],
    "nameless_parameter": [in_parameters(with_more(name, NOTE)) for name in ("", " note", "note ", "note\n")],
    "malformed_enum": [
        in_enum(lambda values: []),
        in_enum(lambda values: "|".join(values)),
        in_enum(lambda values: {value: value.title() for value in values}),
        in_enum(lambda values: [*values, values[0]]),
        in_enum(lambda values: None),
    ],
    "enum_of_another_type": [
        in_enum(lambda values: [*values, 4]),
        in_enum(lambda values: [[value] for value in values]),
        in_schema(setting(enum=["some", "none"]), has("array", "integer", "boolean", "number")),
    ],
    "default_misfit": [
        in_schema(with_default(OF_ANOTHER), has(*OF_TYPE), with_default(OF_TYPE)),
        in_schema(setting(default="another"), has_enum, lambda schema: {**schema, "default": schema["enum"][-1]}),
        in_schema(setting(default=-(10**9)), has("integer", "number"), setting(exclusiveMinimum=-(10**9), default=0)),
    ],
    "malformed_bound": [
        bound("integer", {"minimum": "0"}, minimum=-(10**9)),
        bound("number", {"maximum": None}, maximum=10**9),
        bound("integer", {"exclusiveMaximum": [9]}, exclusiveMaximum=10**9),
        bound("string", {"minLength": "two"}, minLength=0),
        bound("string", {"maxLength": 40.5}, maxLength=10**6),
        bound("string", {"minLength": -1}, minLength=0),
        bound("array", {"minItems": True}, minItems=0),
        bound("number", {"multipleOf": "0.01"}),
        bound("integer", {"multipleOf": 0}),
    ],
    "crossed_bounds": [
        bound("integer", {"maximum": -(10**9) - 1}, minimum=-(10**9)),
        bound("number", {"minimum": 10**9 + 1}, maximum=10**9),
        bound("string", {"minLength": 10**6 + 1}, maxLength=10**6),
        bound("array", {"minItems": 12, "maxItems": 2}, maxItems=1000),
        bound("integer", {"exclusiveMaximum": -(10**9)}, minimum=-(10**9)),
        bound("number", {"exclusiveMinimum": 10**9, "exclusiveMaximum": 10**9}, exclusiveMaximum=10**9),
    ],
    "malformed_pattern": [
        in_schema(setting(pattern=text), has("string"), setting(pattern=""))
        for text in ("(", "[a-z", "*", "a{2,1}", "(?P<x", 5)
    ],
    "unresolved_reference": [
        undefined("#/$defs/Note", "$defs"),
        undefined("#/definitions/Note", "definitions"),
        in_parameters(with_more("note", {"$ref": "Note"})),
        in_parameters(with_more("note", {"$ref": 7})),
    ],
}  # fmt: skip
