"""Hermes function calling (Nous, v1):

    {"conversations": [{"from", "value"}]}, perhaps with "tools": JSON string

Speakers are system, human, gpt and tool. The system text shows the tools between `<tools>` tags; calls are objects
between `<tool_call>` tags, results stand between `<tool_response>` tags. Tools and calls are JSON or Python literals.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from iterft.chat import parse
from iterft.dialects.hermes import HERMES
from iterft.readers.conversation import background, decisions, message, parted, spoken
from iterft.readers.parts import Row, RowFault, json_objects, parse_json, read_tools, row_id, shown, source_of
from iterft.types import Sample

_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "tool": "tool"}
_TOOLS = re.compile(r"<tools>\s*([\[{].*?)\s*</tools>", re.DOTALL)
_CALL = re.compile(r"(<tool_call>\s*)(\{.*?\})(\s*</tool_call>)", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


def read(row: Row, number: str) -> list[Sample]:
    turns = list(spoken(row, _ROLES))
    instructions = "\n".join(text for role, text in turns if role == "system")
    block = _TOOLS.search(instructions)
    tools = read_tools(_objects(block[1]) if block else row.get("tools"))
    messages = background(_TOOLS.sub("", instructions))
    messages.extend(made for role, text in turns for made in _messages(role, text))
    return decisions(row_id(row, number), source_of(row, "hermes"), messages, tools)


def _messages(role: str, text: str) -> Iterator[dict[str, Any]]:
    if role == "user":
        yield message(role, text)
    elif role == "tool":
        yield from (message(role, result) for result in _RESULT.findall(text) or [text.strip()])
    elif role == "assistant":
        think_part, said = parted(text)
        turn = parse(HERMES, _CALL.sub(lambda match: match[1] + _as_json(match[2]) + match[3], said))
        if turn.error:
            raise RowFault("an unparsable call", f"{turn.error} in {shown(text)}")
        yield message(role, think_part + turn.content, turn.calls)


def _objects(text: str) -> Any:
    """A list, one object, or objects one after another."""
    whole = _as_json(text)
    try:
        return parse_json(whole)
    except ValueError:
        return json_objects(text)


def _as_json(text: str) -> str:
    """A Python literal as JSON; anything else as it is."""
    try:
        parse_json(text)
    except ValueError:
        try:
            return json.dumps(ast.literal_eval(text), ensure_ascii=False)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
    return text
