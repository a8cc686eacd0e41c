"""A dump of MCP's `tools/list`: {"tools": [{"name", "description", "inputSchema", "outputSchema"}]}, perhaps as the
`result` of a JSON-RPC answer, or the list alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iterft.toolsets.parts import Definition, Refusal, define


def fits(document: Any) -> bool:
    return any(isinstance(tool, dict) and "inputSchema" in tool for tool in _listed(document))


def read(document: Any) -> Iterator[Definition | Refusal]:
    for number, tool in enumerate(_listed(document), start=1):
        if not isinstance(tool, dict):
            yield Refusal(f"number {number}", (f"{tool!r} is no object",))
            continue
        description = tool.get("description") or tool.get("title")
        yield define(tool.get("name"), description, tool.get("inputSchema"), tool.get("outputSchema"))


def _listed(document: Any) -> list[Any]:
    if isinstance(document, dict):
        document = document.get("result", document)
        document = document.get("tools") if isinstance(document, dict) else None
    return document if isinstance(document, list) else []
