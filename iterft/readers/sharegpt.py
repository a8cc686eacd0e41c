"""ShareGPT with calls, as LLaMA-Factory reads it and APIGen-MT is published:

    {"conversations": [{"from", "value"}], "tools": JSON string, "system": text}

Speakers are human, gpt, function_call (a JSON object {"name", "arguments"} or a list of them, perhaps behind a think
part) and observation. The system text is kept: in APIGen-MT it is the policy that the assistant must follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iterft.readers.conversation import decisions, message, parted, spoken, text_of
from iterft.readers.parts import Row, decoded, read_call, read_tools, row_id, source_of
from iterft.types import Sample, ToolCall

_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "call",
    "observation": "tool",
}


def read(row: Row, number: str) -> list[Sample]:
    tools = read_tools(row.get("tools"))
    return decisions(row_id(row, number), source_of(row, "sharegpt"), _messages(row), tools)


def _messages(row: Row) -> Iterator[dict[str, Any]]:
    if row.get("system"):
        yield message("system", text_of(row["system"]))
    for role, text in spoken(row, _ROLES):
        think_part, said = parted(text) if role == "call" else ("", text)
        yield message("assistant", think_part, _calls(said)) if role == "call" else message(role, text)


def _calls(text: str) -> list[ToolCall]:
    listed = decoded(text, "a call")
    return [read_call(call) for call in (listed if isinstance(listed, list) else [listed])]
