"""A list of tools as JSON: OpenAI's form, {"type": "function", "function": {...}}, or plain, {name, description,
parameters}, Anthropic's with `input_schema`; alone, in a list, or under "tools" or "functions"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iterft.toolsets.parts import Definition, Refusal, define

SCHEMAS = frozenset(["parameters", "input_schema"])


def fits(document: Any) -> bool:
    return any(_is_tool(tool) for tool in _listed(document))


def read(document: Any) -> Iterator[Definition | Refusal]:
    for number, tool in enumerate(_listed(document), start=1):
        inner = tool.get("function", tool) if isinstance(tool, dict) else tool
        if not isinstance(inner, dict):
            yield Refusal(f"number {number}", (f"{inner!r} is no object",))
            continue
        if not (SCHEMAS & set(inner)) and (odd := [key for key in inner if isinstance(inner[key], dict | list)]):
            why = f"{odd[0]}: is not understood; a tool's parameters are the JSON schema under 'parameters'"
            yield Refusal(str(inner.get("name") or f"number {number}"), (why,))
            continue
        parameters = inner.get("parameters") or inner.get("input_schema")
        yield define(inner.get("name"), inner.get("description"), parameters, inner.get("returns"))


def _listed(document: Any) -> list[Any]:
    if isinstance(document, dict):
        found = document.get("tools", document.get("functions", [document]))
        return found if isinstance(found, list) else []
    return document if isinstance(document, list) else []


def _is_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and ("name" in tool or isinstance(tool.get("function"), dict))
