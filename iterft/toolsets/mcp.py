"""A dump of MCP's `tools/list`: {"tools": [{"name", "description", "inputSchema", "outputSchema"}]}, perhaps as the
`result` of a JSON-RPC answer, or the list alone; or all pages of such, in order."""

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
        if "inputSchema" not in tool:
            yield Refusal(str(tool.get("name") or f"number {number}"), ("inputSchema: missing",))
            continue
        description = tool.get("description") or tool.get("title")
        yield define(tool.get("name"), description, tool.get("inputSchema"), tool.get("outputSchema"))


def _listed(document: Any) -> list[Any]:
    """ValueError where the last page says that there are more."""
    listed: list[Any] = document if isinstance(document, list) else [document]
    pages = [page.get("result", page) if isinstance(page, dict) else page for page in listed]
    pages = [page for page in pages if isinstance(page, dict) and isinstance(page.get("tools"), list)]
    if not pages:
        return listed
    if pages[-1].get("nextCursor"):
        raise ValueError("its last page has a nextCursor, so tools are missing; add the pages that follow, in order")
    return [tool for page in pages for tool in page["tools"]]
