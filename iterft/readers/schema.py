"""Parameters of published tools as a JSON schema.

Three vocabularies are read: JSON schema's own, BFCL's and ToolACE's ("dict", "float", "tuple", "any") and Python's as
xLAM has it ("str, optional", "List[int]", "Union[int, float]"). A type that none of them knows is left out: any value
is then of the right type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("string", "str", "text", "char"), "string"),
    **dict.fromkeys(("integer", "int", "long"), "integer"),
    **dict.fromkeys(("number", "float", "double", "decimal"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple", "set", "sequence", "iterable"), "array"),
    **dict.fromkeys(("object", "dict", "dictionary", "mapping", "map", "hashmap"), "object"),
    **dict.fromkeys(("null", "none", "nonetype"), "null"),
}


def parameters_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of parameters that have one already or are a flat {name: {type, description, default}}."""
    if not parameters:
        return {"type": "object", "properties": {}}
    if isinstance(parameters.get("type"), str) or _is_properties(parameters.get("properties")):
        return json_schema(parameters)
    properties, required = {}, []
    for name, parameter in parameters.items():
        described = parameter if isinstance(parameter, Mapping) else {"description": str(parameter)}
        optional = is_optional(described.get("type")) or "default" in described
        properties[name] = json_schema({k: v for k, v in described.items() if (k, v) != ("default", "")})
        if not optional:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in any of the vocabularies, recursively in that of JSON schema. The argument is left as it is. Keywords
    that are null, as exports write what is not there, are left out, but for a default."""
    converted = {key: value for key, value in without_null_keywords(schema).items() if key not in ("type", "required")}
    declared = schema.get("type")
    if isinstance(declared, str):
        converted = {**type_schema(declared), **converted}
    elif declared is not None:
        converted = {"type": declared, **converted}
    if isinstance(schema.get("properties"), Mapping):
        converted["properties"] = {
            name: json_schema(inner) if isinstance(inner, Mapping) else inner
            for name, inner in schema["properties"].items()
            if inner is not None
        }
    elif "properties" in schema and schema["properties"] is None:
        converted["properties"] = {}
    if isinstance(schema.get("items"), Mapping):
        converted["items"] = json_schema(schema["items"])
    if isinstance(schema.get("required"), list):
        converted["required"] = schema["required"]
    return converted


def without_null_keywords(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that say something: a default or a constant may be null, all others are null only in exports."""
    return {key: value for key, value in schema.items() if value is not None or key in ("default", "const")}


def type_schema(text: str) -> dict[str, Any]:
    """The schema that a type written in words or in Python asks for; {} where it is unknown."""
    kind = _split(text)[0].strip() if text.strip() else ""
    name, _, inner = kind.partition("[")
    name = name.strip().lower().removeprefix("typing.")
    parts = [type_schema(part) for part in _split(inner.strip().removesuffix("]"))] if inner else []
    if name == "optional":
        return parts[0] if parts else {}
    if name == "union":
        return _union([part for part in parts if part.get("type") != "null"])
    if name not in _TYPES:
        return {}
    declared = _TYPES[name]
    if declared == "array" and parts and parts[0] and all(part == parts[0] for part in parts):
        return {"type": declared, "items": parts[0]}
    return {"type": declared}


def is_optional(text: Any) -> bool:
    """Whether a type says "optional", before or behind it."""
    return isinstance(text, str) and any(part.strip().lower().startswith("optional") for part in _split(text))


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    names = {part.get("type") for part in parts}
    if len(names) == 1 and None not in names:
        return parts[0]
    return {"type": "number"} if names == {"integer", "number"} else {}


def _split(text: str) -> list[str]:
    """The parts between the commas that stand outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _is_properties(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(inner, Mapping | None) for inner in value.values())
