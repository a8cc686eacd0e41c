"""What every form reads with: a definition, a refusal, and schemas brought into one vocabulary.

A schema is taken as it is meant or refused, never with a part left out: references are resolved, `allOf` is merged,
Python's, BFCL's and OpenAPI's ways to write a type become JSON schema's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iterft.json_schema import TYPES, inside, referred, schema_faults, types_of
from iterft.readers.schema import type_schema, without_null_keywords
from iterft.types import Tool

MAX_NAME = 64
_NAME = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z_][\w.-]*")
_LEFT_OUT = frozenset(["$schema", "$defs", "definitions", "title", "xml", "externalDocs", "deprecated"])
_NOT_UNDERSTOOD = frozenset(["not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas"])
_NOT_UNDERSTOOD |= {"prefixItems", "contains", "propertyNames", "dependencies", "additionalItems"}
"""Keywords that narrow what is allowed, and would be ignored."""
_KNOWN_MAPPINGS = frozenset(["properties", "items", "additionalProperties", "propertyNames"])
_KNOWN_MAPPINGS |= {"default", "example", "examples", "enum", "const", "discriminator", *_LEFT_OUT}
"""Keywords that may hold an object. Another that does is a parameter in the wrong place or a keyword misspelt."""
_MAX_DEPTH = 24
_DESCRIBES = frozenset(["description", "default", "example", "examples", "readOnly", "writeOnly", "discriminator"])
_TIGHTER: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "uniqueItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
"""Of two bounds the one that holds for both."""


@dataclass(frozen=True)
class Definition:
    """A tool: `parameters` is a resolved JSON schema of type object. `returns`: the schema of its result, None where
    nothing says. `group`: what its source files it under (a class, a tag), perhaps ""."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    returns: Mapping[str, Any] | None = None
    group: str = ""

    @property
    def tool(self) -> Tool:
        """What a policy is shown."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}


@dataclass(frozen=True)
class Refusal:
    """A tool that cannot be used, and why: each fault begins with its field."""

    tool: str
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"tool {self.tool}: {'; '.join(self.faults)}"


Reader = Callable[[Any], Iterator[Definition | Refusal]]
"""A document (decoded JSON or YAML, or a module) -> its tools, in order."""


def define(
    name: Any, description: Any, parameters: Any, returns: Any = None, group: str = "", root: Any = None
) -> Definition | Refusal:
    """The definition, or its refusal. `parameters` None: the tool takes none. `root`: the document that references are
    read in, where it is not the schema itself."""
    shown = name if isinstance(name, str) and name else "without a name"
    faults = list(_text_faults(name, description))
    resolved: dict[str, Any] = {"type": "object", "properties": {}}
    result: dict[str, Any] | None = None
    try:
        if parameters:
            resolved = normalised(parameters, root or parameters)
    except ValueError as error:
        return Refusal(shown, (*faults, str(error)))
    if returns:
        with suppress(ValueError):  # results are only read: what cannot be is as if nothing was said
            result = normalised(returns, root or returns, "returns")
    if "anyOf" in resolved:
        faults.append("parameters: alternatives at the top are not understood; describe one object")
    resolved.setdefault("properties", {})
    if resolved.get("type", "object") != "object":
        faults.append(f"parameters: must be of type object, but are {resolved.get('type')!r}")
    resolved = {**resolved, "type": "object"}
    faults += map(str, schema_faults(resolved))
    faults += _gaps(resolved)
    return Refusal(shown, tuple(faults)) if faults else Definition(name, description.strip(), resolved, result, group)


def normalised(schema: Any, root: Any, path: str = "", depth: int = 0) -> dict[str, Any]:
    """The schema in JSON schema's words, without references. ValueError, beginning with the field, for what cannot be
    read or refers to itself."""
    field = path or "parameters"
    if depth > _MAX_DEPTH:
        raise ValueError(f"{field}: refers to itself or is nested too deeply; a call could not be written to its end")
    if not isinstance(schema, Mapping):
        raise ValueError(f"{field}: {schema!r} is no schema")
    if "$ref" in schema:
        target = referred(schema["$ref"], root)
        if target is None:
            raise ValueError(f"{field}: $ref {schema['$ref']!r} points to nothing in this document")
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return {**normalised(target, root, path, depth + 1), **own}
    schema = without_null_keywords(schema)
    if schema.get("propertyNames") == {"type": "string"}:  # holds for every object
        del schema["propertyNames"]
    if odd := _NOT_UNDERSTOOD.intersection(schema):
        raise ValueError(f"{field}: {', '.join(sorted(odd))} is not understood; say it in other keywords")
    for key, value in schema.items():
        if not isinstance(key, str):
            raise ValueError(f"{field}: the key {key!r} is no text; put it in quotes")
        if isinstance(value, Mapping) and key not in _KNOWN_MAPPINGS and not key.startswith("x-"):
            raise ValueError(f"{field}: {key!r} is no keyword; parameters are listed under 'properties'")
    made = {key: value for key, value in schema.items() if key not in _LEFT_OUT}
    if "type" not in made and isinstance(made.get("properties"), Mapping):
        made["type"] = "object"
    if isinstance(made.get("type"), str) and made["type"] not in TYPES:
        read = type_schema(made.pop("type"))
        if not read:
            raise ValueError(f"{field}: unknown type {schema['type']!r}")
        made = {**read, **made}
    elif types_of(made):
        names = types_of(made)
        made["type"] = names[0] if len(names) == 1 else names
    made.pop("nullable", None)
    if "const" in made:
        made["enum"] = [made.pop("const")]
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(made.get(key), bool) and made.pop(key) and bound in made:  # draft 4
            made[key] = made.pop(bound)
    if "properties" in made:
        if not isinstance(made["properties"], Mapping):
            raise ValueError(f"{field}: properties must be an object, name -> schema")
        if odd_names := [name for name in made["properties"] if not isinstance(name, str)]:
            raise ValueError(f"{field}: the name {odd_names[0]!r} is no text; put it in quotes")
        made["properties"] = {
            name: normalised(inner, root, inside(path, name), depth + 1) for name, inner in made["properties"].items()
        }
    for key, end in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(made.get(key), Mapping):
            made[key] = normalised(made[key], root, field + end, depth + 1)
    for key in ("anyOf", "oneOf"):
        if key in made:
            branches = made.pop(key)
            if not isinstance(branches, list) or not branches:
                raise ValueError(f"{field}: {key} is no list of schemas")
            made["anyOf"] = [normalised(branch, root, path, depth + 1) for branch in branches]
    return _merged(made, root, path, depth)


def _merged(schema: dict[str, Any], root: Any, path: str, depth: int) -> dict[str, Any]:
    """The schema with the parts of its `allOf` as its own."""
    if "allOf" not in schema:
        return schema
    parts = schema.pop("allOf")
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{path or 'parameters'}: allOf is no list of schemas")
    merged: dict[str, Any] = {}
    for part in (*(normalised(part, root, path, depth + 1) for part in parts), schema):
        merged = _both(merged, part, path)
    return merged


def _common(values: list[Any], others: list[Any]) -> list[Any]:
    return [value for value in values if value in others]


def _both(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What both schemas allow; of what only describes, what `other` says. ValueError, beginning with the field, where
    they do not go together."""
    made = {**one, **other}
    for key in one.keys() & other.keys():
        mine, theirs = one[key], other[key]
        if mine == theirs or key in _DESCRIBES or key.startswith("x-"):
            continue
        if key in _TIGHTER and isinstance(mine, int | float) and isinstance(theirs, int | float):
            made[key] = _TIGHTER[key](mine, theirs)
        elif key == "properties":
            made[key] = mine | {
                name: _both(mine.get(name, {}), inner, inside(path, name)) for name, inner in theirs.items()
            }
        elif key == "items" and isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            made[key] = _both(mine, theirs, f"{path or 'parameters'}[]")
        elif key == "required" and isinstance(mine, list) and isinstance(theirs, list):
            made[key] = list(dict.fromkeys([*mine, *theirs]))
        elif (
            key == "enum" and isinstance(mine, list) and isinstance(theirs, list) and (common := _common(mine, theirs))
        ):
            made[key] = common
        elif key == "type" and {str(mine), str(theirs)} == {"integer", "number"}:
            made[key] = "integer"
        elif key == "additionalProperties" and isinstance(mine, bool) and isinstance(theirs, bool):
            made[key] = False
        else:
            field = path or "parameters"
            raise ValueError(f"{field}: parts of allOf differ in {key} ({mine!r}, {theirs!r}); say it in one schema")
    return made


def _text_faults(name: Any, description: Any) -> Iterator[str]:
    if not isinstance(name, str) or not name:
        yield "name: missing"
    elif not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        yield f"name: {name!r} must be at most {MAX_NAME} letters, digits, '_', '.' or '-', a letter first"
    if not isinstance(description, str) or not description.strip():
        yield "description: missing; say in a sentence what the tool does"


def _gaps(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Fields of which nothing says what they hold."""
    for name, inner in schema.get("properties", {}).items():
        yield from _gaps_at(inner, inside(path, name))


def _gaps_at(schema: Any, path: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    branches = schema.get("anyOf", ())
    names = types_of(schema)
    if not branches and not names and "enum" not in schema:
        yield f"{path}: type missing"
    if "array" in names and not isinstance(schema.get("items"), Mapping):
        yield f"{path}: items missing; say what the array holds"
    elif "array" in names:
        yield from _gaps_at(schema["items"], f"{path}[]")
    for branch in branches:
        yield from _gaps_at(branch, path)
    yield from _gaps(schema, path)
