"""The Llama 3 dialect (Llama 3.1 to 3.3): the whole turn is `{"name": "f", "parameters": {...}}; ...`, or else prose.

The first thing that is `{"name":` or `{"parameters":` decides that the turn makes calls, also behind `"type":
"function",`, as the models write it too, and so does `<|python_tag|>`, which may come before the first call and
announces one. Then calls and the ";" between them are all that may follow:
after each call another one may, so nothing but the end of the turn settles that there is no more. Llama's own templates
write one call a turn; several in a row are how its models are tuned further. Not read: the calls of built-in tools
(`<|python_tag|>brave_search.call(...)`), which are malformed.
"""

from __future__ import annotations

from collections.abc import Sequence

from iterft.chat import Dialect, Scan
from iterft.dialects.grammar import turn_of
from iterft.dialects.json_call import FUNCTION, TYPE, call_object, read_call_object, rules_of_calls
from iterft.dialects.reader import Reader, scan
from iterft.jinja import filled
from iterft.tool_list import explain_tools, show_result
from iterft.types import Tool, ToolCall

TAG = "<|python_tag|>"
_KEYS = ('"name"', '"parameters"')
_OPENING = (("{", TAG), (*_KEYS, TYPE), (":",))
_BEHIND_TYPE = ((FUNCTION,), (",",), _KEYS, (":",))


def _system(tools: Sequence[Tool]) -> str:
    return explain_tools(
        tools,
        'To call a tool, write only\n{"name": ..., "parameters": {...}}\nYou may make several calls, separated by ";".',
    )


def _render(calls: Sequence[ToolCall]) -> str:
    return "; ".join(call_object(call, "parameters") for call in calls)


def _grammar(tools: Sequence[Tool]) -> str:
    rules, call = rules_of_calls(tools, "parameters")
    return rules.text(turn_of(call and f'{call} ("; " {call})*', "{"))


def _scan(text: str) -> Scan:
    return scan(_read_turn, text)


def _read_turn(reader: Reader) -> None:
    settled = reader.think()
    opens, decided = _opening(reader)
    if not opens:
        reader.prose(max(decided, settled))
        return
    if reader.peek() != "{":
        reader.take((TAG,))
        reader.open_call()
    while True:
        reader.space()
        reader.take("{")
        reader.open_call()
        read_call_object(reader, "parameters", with_type=True)
        reader.close_call()
        reader.space()
        reader.take(";")
        reader.expects = "call"


def _opening(reader: Reader) -> tuple[bool, int]:
    """Whether the turn makes calls, and how far one must read to know."""
    ahead = Reader(reader.text, reader.position)
    wanted = list(_OPENING)
    while wanted:
        options = wanted.pop(0)
        ahead.space()
        start = ahead.position
        ahead.position += ahead.begun(options)
        read = reader.text[start : ahead.position]
        if read not in options:
            return False, ahead.position
        if read == TAG:
            break
        if read == TYPE:
            wanted += _BEHIND_TYPE
    return True, ahead.position


_JINJA = filled("json_calls", ARGUMENTS="parameters", BEFORE_CALLS="", BETWEEN_CALLS="; ", AFTER_CALLS="")
LLAMA3 = Dialect("llama3", _system, _render, _scan, show_result, _grammar, _JINJA)
