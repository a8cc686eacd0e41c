"""The Hermes dialect (Nous Hermes, Qwen): each call a JSON object between `<tool_call>` tags, prose around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from iterft.chat import Dialect, Scan
from iterft.dialects.grammar import BEGINNING
from iterft.dialects.json_call import call_object, read_call_object, rules_of_calls
from iterft.dialects.reader import Reader, scan
from iterft.jinja import filled
from iterft.tool_list import explain_tools, show_result
from iterft.types import Tool, ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_TAG = re.compile(f"{OPEN}|{CLOSE}")


def _system(tools: Sequence[Tool]) -> str:
    return explain_tools(
        tools,
        f'To call a tool, write\n{OPEN}\n{{"name": ..., "arguments": {{...}}}}\n{CLOSE}\n'
        "You may make several calls, one block each.",
    )


def _render(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"{OPEN}\n{call_object(call, 'arguments')}\n{CLOSE}" for call in calls)


def _grammar(tools: Sequence[Tool]) -> str:
    rules, call = rules_of_calls(tools, "arguments")
    body = rf'"\n" {call} "\n{CLOSE}"'
    if call:
        around = rf'TagDispatch(("{OPEN}", {rules.define(body)}), loop_after_dispatch=true, excludes=("{CLOSE}"))'
    else:
        around = f'TagDispatch(loop_after_dispatch=false, excludes=("{OPEN}", "{CLOSE}"))'
    words = rules.define(around)
    calls = f' | "{OPEN}" {body} {words}' if call else ""
    return rules.text(rf"{BEGINNING} ([^ \t\n\r<] {words}{calls})?")


def _scan(text: str) -> Scan:
    return scan(_read_turn, text)


def _read_turn(reader: Reader) -> None:
    reader.think()
    while True:
        _read_prose(reader)
        if reader.take((OPEN, CLOSE)) == CLOSE:
            raise reader.fault(f"{CLOSE} without {OPEN} ends")
        _read_call(reader)


def _read_prose(reader: Reader) -> None:
    """Passes content up to the next tag; the beginning of a tag at the end of the text is undecided."""
    text, start = reader.text, reader.position
    tag = _TAG.search(text, start)
    if tag:
        reader.content.append(text[start : tag.start()])
        reader.position = tag.start()
        return
    end = text.rfind("<", start)
    if end < 0 or not (OPEN.startswith(text[end:]) or CLOSE.startswith(text[end:])):
        end = len(text)
    reader.content.append(text[start:end])
    reader.suspend(end)


def _read_call(reader: Reader) -> None:
    """Passes what follows an opening tag, closing tag included."""
    reader.open_call()
    reader.space()
    reader.take("{")
    read_call_object(reader, "arguments")
    reader.space()
    reader.take((CLOSE,))
    reader.close_call()


_JINJA = filled(
    "json_calls",
    ARGUMENTS="arguments",
    BEFORE_CALLS=f"{OPEN}\n",
    BETWEEN_CALLS=f"\n{CLOSE}\n{OPEN}\n",
    AFTER_CALLS=f"\n{CLOSE}",
)
HERMES = Dialect("hermes", _system, _render, _scan, show_result, _grammar, _JINJA)
