"""Tools as the model reads them in our own prompts: one line per tool and per parameter.

    get_forecast: Weather of the coming days.
      city (string): City name
      days (integer, optional): Number of days

The same content as the JSON schema in about half the tokens. Nested objects are indented further; keywords that have no
place of their own (format, minimum, default, ...) follow in JSON, those of a list's items and definitions too. Not used
where a tokenizer's own template shows tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterft.types import Tool

SHOWN = frozenset({"type", "description", "properties", "required", "items", "enum"})
ITEMS_SHOWN = SHOWN - {"description"}
"""What the type of a list says of its items."""
DEFINITIONS = ("$defs", "definitions")
INDENT = "  "


def explain_tools(tools: Sequence[Tool], how_to_call: str) -> str:
    """The system text that shows the tools; `how_to_call` says how calls are written."""
    return (
        f"You can call these tools:\n<tools>\n{describe_tools(tools)}\n</tools>\n"
        f"{how_to_call} If no tool fits or information is missing, reply in plain words instead."
    )


def show_result(content: str) -> str:
    """A tool's result as the content of a user message."""
    return f"<tool_response>\n{content}\n</tool_response>"


def describe_tools(tools: Sequence[Tool]) -> str:
    """The lines of all tools, joined."""
    return "\n".join(line for tool in tools for line in tool_lines(tool))


def tool_lines(tool: Tool) -> Iterator[str]:
    description = one_line(tool.get("description"))
    yield f"{tool['name']}: {description}" if description else f"{tool['name']}"
    schema = tool.get("parameters") or {}
    yield from parameter_lines(schema, INDENT)
    yield from (f"{INDENT}{key} {as_json(schema[key])}" for key in DEFINITIONS if isinstance(schema.get(key), dict))


def parameter_lines(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    """One line per property of an object schema, its own properties below it."""
    properties = schema.get("properties")
    required = schema["required"] if isinstance(schema.get("required"), list) else []
    for name, parameter in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(parameter, dict):
            yield f"{indent}{name} ({json.dumps(parameter)})"
            continue
        marks = [type_text(parameter)] + ([] if name in required else ["optional"])
        marks += other_keywords(parameter) + item_keywords(parameter)
        description = one_line(parameter.get("description"))
        yield f"{indent}{name} ({', '.join(marks)})" + (f": {description}" if description else "")
        inner: Any = parameter
        while isinstance(inner, dict) and isinstance(inner.get("items"), dict):
            inner = inner["items"]
        yield from parameter_lines(inner, indent + INDENT)


def type_text(schema: Mapping[str, Any]) -> str:
    """`string`, `array of integer`, `"a" | "b"`, ...; "any" where nothing is declared, or null is."""
    if isinstance(schema.get("enum"), list):
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    declared = "any" if schema.get("type") is None else schema["type"]
    if isinstance(schema.get("items"), dict):
        items = type_text(schema["items"])
        return f"{declared} of {f'({items})' if '|' in items else items}"
    return " | ".join(map(str, declared)) if isinstance(declared, list) else str(declared)


def other_keywords(schema: Mapping[str, Any]) -> list[str]:
    return [f"{key} {as_json(value)}" for key, value in schema.items() if key not in SHOWN and value is not None]


def item_keywords(schema: Mapping[str, Any]) -> list[str]:
    """Of the items of a list, and of theirs, what their type does not say."""
    found = []
    while isinstance(schema.get("items"), dict):
        schema = schema["items"]
        own = {key: value for key, value in schema.items() if key not in ITEMS_SHOWN and value not in (None, "")}
        found += [f"items {as_json(own)}"] if own else []
    return found


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def one_line(text: Any) -> str:
    """Nothing where it is null."""
    return "" if text is None else " ".join(str(text).split())
