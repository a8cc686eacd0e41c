"""OpenAI's chat messages, the conversation with the assistant's turns in it:

    {"messages": [{"role", "content", "tool_calls"}], "tools": [{"type": "function", "function": {...}}]}

Arguments of calls are JSON strings (or objects); either list may be a JSON string itself, as Arrow wants. Results may
come in any order where they have the `tool_call_id` of their call. What a turn of the assistant thought may stand
beside its content, as `reasoning_content`, `reasoning` or `thinking`; a turn of `weight` 0 is not learnt. Not read: the
old `function_call` of a message, and content that is no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iterft.chat import THINK_CLOSE, THINK_OPEN, think_span
from iterft.readers.conversation import decisions, message, role_of, text_of, to_answer
from iterft.readers.parts import Row, RowFault, decoded, read_call, read_tools, row_id, shown, source_of
from iterft.readers.results import in_order_of_calls, without_ids
from iterft.types import Message, Sample

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def read(row: Row, number: str) -> list[Sample]:
    turns = decoded(row.get("messages"), "'messages'")
    if not isinstance(turns, list):
        raise RowFault("'messages' missing or not a list", shown(turns))
    tools = read_tools(row.get("tools"))
    messages = map(without_ids, in_order_of_calls(map(_message, turns)))
    return decisions(row_id(row, number), source_of(row, "openai"), messages, tools)


def read_prompt(turns: Any) -> tuple[Message, ...]:
    """The messages of a conversation that the assistant is to go on with. RowFault where they cannot be read, or say
    nothing to answer."""
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise RowFault("messages are no list", shown(turns))
    return to_answer(map(without_ids, in_order_of_calls(map(_message, turns))))


def _message(turn: Any) -> dict[str, Any]:
    """With the ids that tell calls and results apart."""
    if not isinstance(turn, dict) or "role" not in turn:
        raise RowFault("a message without a role", shown(turn))
    role = role_of(turn["role"], _ROLES)
    if turn.get("function_call"):
        raise RowFault("a call in the old 'function_call'", shown(turn["function_call"]))
    calls = decoded(turn.get("tool_calls") or [], "'tool_calls'")
    if not isinstance(calls, list) or (calls and role != "assistant"):
        raise RowFault("'tool_calls' not a list, or not the assistant's", shown(calls))
    content = _content(turn.get("content"), role)
    if role == "assistant" and not think_span(content):
        content = _thought(turn) + content
    made = message(role, content, list(map(read_call, calls)))
    for read, call in zip(made.get("tool_calls", ()), calls, strict=True):
        read["id"] = call.get("id")
    if role == "assistant":
        made["weight"] = _weight(turn)
    if role == "tool" and isinstance(turn.get("name"), str):
        made["name"] = turn["name"]
    return {**made, "tool_call_id": turn.get("tool_call_id")}


def _thought(turn: dict[str, Any]) -> str:
    """The think part of a turn that has it beside its content, else ""."""
    thought = next((turn[key] for key in _THOUGHTS if turn.get(key)), "")
    if not isinstance(thought, str) or THINK_CLOSE in thought:
        raise RowFault("reasoning that is no text, or ends a think part", shown(thought))
    return f"{THINK_OPEN}{thought}{THINK_CLOSE}" if thought else ""


def _weight(turn: dict[str, Any]) -> float:
    weight = turn.get("weight")
    if weight not in (None, 0, 1):
        raise RowFault("a weight other than 0 and 1", shown(weight))
    return 1 if weight is None else float(weight)


def _content(content: Any, role: str) -> str:
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "".join(text_of(part.get("text")) for part in content)
    if content is not None and not isinstance(content, str) and role != "tool":
        raise RowFault("a message whose content is no text", shown(content))
    return text_of(content)
