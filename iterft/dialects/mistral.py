"""The Mistral dialect (Mistral 7B v0.3, Nemo): `[TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...]`, or else prose.

`[TOOL_CALLS]` at the beginning decides that the turn makes calls; then nothing but white space may follow the list.
Not read: the ids that Mistral's own templates add to calls of the past, and the format of v11 and later
(`[TOOL_CALLS]f[ARGS]{...}`).
"""

from __future__ import annotations

from collections.abc import Sequence

from iterft.chat import Dialect, Scan
from iterft.dialects.grammar import turn_of
from iterft.dialects.json_call import call_object, read_call_object, rules_of_calls
from iterft.dialects.reader import Reader, scan
from iterft.jinja import filled
from iterft.tool_list import explain_tools, show_result
from iterft.types import Tool, ToolCall

OPEN = "[TOOL_CALLS]"


def _system(tools: Sequence[Tool]) -> str:
    return explain_tools(
        tools,
        f'To call tools, write only a list of calls:\n{OPEN} [{{"name": ..., "arguments": {{...}}}}, ...]\n'
        "You may make several calls.",
    )


def _render(calls: Sequence[ToolCall]) -> str:
    return f"{OPEN} [{', '.join(call_object(call, 'arguments') for call in calls)}]" if calls else ""


def _grammar(tools: Sequence[Tool]) -> str:
    rules, call = rules_of_calls(tools, "arguments")
    return rules.text(turn_of(call and f'"{OPEN} [" {call} (", " {call})* "]"', "["))


def _scan(text: str) -> Scan:
    return scan(_read_turn, text)


def _read_turn(reader: Reader) -> None:
    settled = reader.think()
    begun = reader.begun((OPEN,))
    if begun < len(OPEN):
        reader.prose(max(reader.position + begun, settled))
        return
    reader.take((OPEN,))
    reader.open_list = True
    reader.space()
    reader.list_of_calls(_read_call)


def _read_call(reader: Reader) -> None:
    reader.take("{")
    reader.open_call()
    read_call_object(reader, "arguments")
    reader.close_call()


_JINJA = filled("json_calls", ARGUMENTS="arguments", BEFORE_CALLS=f"{OPEN} [", BETWEEN_CALLS=", ", AFTER_CALLS="]")
MISTRAL = Dialect("mistral", _system, _render, _scan, show_result, _grammar, _JINJA)
