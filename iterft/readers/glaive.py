"""Glaive function calling v2:

    {"system": "SYSTEM: ..." with JSON objects, one a function, "chat": the conversation as one text}

    USER: ...  ASSISTANT: <functioncall> {"name": "f", "arguments": '{"a": 1}'} <|endoftext|>  FUNCTION RESPONSE: ...

The quotes around arguments make the call no JSON; within them an apostrophe is written with a backslash. Many rows show
no functions at all and are counted as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from iterft.readers.conversation import background, decisions, message
from iterft.readers.parts import (
    NO_TOOLS,
    Row,
    RowFault,
    decoded,
    json_objects,
    read_call,
    read_tools,
    row_id,
    shown,
    source_of,
)
from iterft.types import Sample, ToolCall

_SPEAKER = re.compile(r"(?:^|\s)(USER|ASSISTANT|FUNCTION RESPONSE):(?=\s|$)")
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_END, _CALL = "<|endoftext|>", "<functioncall>"
_QUOTED = re.compile(r"""(\{\s*"name"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"arguments"\s*:\s*)'(.*)'\s*\}""", re.DOTALL)


def read(row: Row, number: str) -> list[Sample]:
    system, chat = row.get("system") or "", row.get("chat")
    if not isinstance(system, str) or not isinstance(chat, str):
        raise RowFault("'system' or 'chat' missing or no text", shown(chat))
    instructions, opening, functions = system.partition("{")
    if not opening:
        raise RowFault(NO_TOOLS, "the system text shows none")
    tools = read_tools(json_objects(opening + functions.rstrip()))
    messages = background(instructions.removeprefix("SYSTEM:"))
    messages.extend(_messages(chat))
    return decisions(row_id(row, number), source_of(row, "glaive"), messages, tools)


def _messages(chat: str) -> Iterator[dict[str, Any]]:
    before, *spoken = _SPEAKER.split(chat)
    if before.strip():
        raise RowFault("text before the first speaker", shown(before))
    for speaker, text in zip(spoken[::2], spoken[1::2], strict=True):
        content, *calls = text.replace(_END, "").strip().split(_CALL)
        if calls and speaker != "ASSISTANT":
            raise RowFault("a call that is not the assistant's", shown(text))
        yield message(_ROLES[speaker], content.strip(), [_call(call.strip()) for call in calls])


def _call(text: str) -> ToolCall:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return read_call(decoded(text, "a call"))
    named = decoded(quoted[1] + "null}", "a call")
    return read_call({**named, "arguments": decoded(quoted[2].replace("\\'", "'"), "a call's arguments")})
